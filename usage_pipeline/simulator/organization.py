"""The simulated organization: answers buckets as they look at its present time.

Put the adding up of events into rows here; how they come to be is in `events` and `billing`.
"""

import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from operator import add, attrgetter
from typing import Any

from usage_pipeline.api.query import Bounds, UsageQuery
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.name_lists import NameList
from usage_pipeline.simulator.billing import AMOUNT_PLACES, QUANTITY_PLACES, cost_events, standing_events
from usage_pipeline.simulator.catalogue import CACHE_WRITES_SINCE
from usage_pipeline.simulator.directory import Directory
from usage_pipeline.simulator.events import DayFate, Event, events_of, fate_of, is_level
from usage_pipeline.simulator.roster import Roster
from usage_pipeline.simulator.tokens import measure_sums
from usage_pipeline.simulator.workloads import workloads_of
from usage_pipeline.windows import DAY_SECONDS, day_start, utc_moment

_DAYS_KEPT = 6_000  # of all endpoints together: a year of each stays in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class _Day:
    fate: DayFate
    events: list[Event]


class Organization:
    """Buckets and names whose whole history, past and to come, follows from a seed; the clock says how much shows.

    Asking twice at one time gives the same answer; asking later gives late events, restated and vanished groups.
    """

    def __init__(self, seed: int, clock: Callable[[], datetime]) -> None:
        self.seed = seed
        self.roster = Roster(seed)
        self.directory = Directory(seed, self.roster)
        self._clock = clock
        self._emails = {user.id: user.email for user in self.roster.users}
        self._project_names = {project.id: project.name for project in self.roster.projects}
        self._workloads = lru_cache(lambda name: workloads_of(seed, ENDPOINTS[name]))
        self._day = lru_cache(maxsize=_DAYS_KEPT)(self._make_day)

    def now(self) -> datetime:
        """The organization's present time."""
        return self._clock()

    def results(self, query: UsageQuery, bounds: Sequence[Bounds]) -> list[list[dict[str, Any]]]:
        """The rows of each bucket as known now."""
        now = int(self.now().timestamp())
        return [self._rows(query, start, end, now) for start, end in bounds]

    def names(self, names: NameList, project_id: str | None) -> list[dict[str, Any]] | None:
        """The objects of a list of names as they are now."""
        return self.directory.listed(names.name, project_id, int(self.now().timestamp()))

    def fate(self, endpoint: Endpoint, day: date) -> DayFate:
        """What befalls a day of an endpoint as a whole."""
        return self._day(endpoint.name, day).fate

    def _make_day(self, name: str, day: date) -> _Day:
        endpoint = ENDPOINTS[name]
        workloads = self._workloads(name)
        fate = fate_of(self.seed, endpoint, day, len(workloads))
        if fate.is_quiet:
            return _Day(fate=fate, events=[])
        if not endpoint.is_money:
            return _Day(fate=fate, events=events_of(self.seed, endpoint, day, workloads, self.roster))
        usage = {row.name: (row, self._day(row.name, day).events) for row in ENDPOINTS.values() if not row.is_money}
        events = cost_events(endpoint, usage) + standing_events(endpoint, self.seed, day, self.roster)
        return _Day(fate=fate, events=sorted(events, key=lambda event: event.at))

    def _rows(self, query: UsageQuery, start: int, end: int, now: int) -> list[dict[str, Any]]:
        """The rows of one bucket; no bucket reaches over midnight, so one day's events hold them all."""
        day = self._day(query.endpoint.name, utc_moment(start).date())
        if day.fate.is_empty(now):
            return []
        if is_level(query.endpoint):
            midnight = start - start % DAY_SECONDS
            events = _last_readings(_kept(query, day.events, midnight, end), now)
        else:
            events = _kept(query, day.events, start, end)
        groups = _grouped(query, events, now)
        if query.endpoint.is_money:
            rows = [_cost_row(query, *group) for group in groups.items()]
            return [row | self._names(row, is_first=position == 0) for position, row in enumerate(rows)]
        return [_usage_row(query, start, *group) for group in groups.items()]

    def _names(self, row: Mapping[str, Any], *, is_first: bool) -> dict[str, Any]:
        """The undocumented fields of cost rows; two of them were seen on some rows only."""
        extras: dict[str, Any] = {
            "project_name": self._project_names.get(row.get("project_id", "")),
            "organization_name": self.roster.organization_name,
        }
        if is_first:
            extras["organization_id"] = self.roster.organization_id
            extras["user_email"] = self._emails.get(row.get("user_id") or "")
        return extras


def _kept(query: UsageQuery, events: list[Event], start: int, end: int) -> list[Event]:
    """The events of a bucket that pass the query's filters."""
    first = bisect_left(events, start, key=attrgetter("at"))
    last = bisect_left(events, end, lo=first, key=attrgetter("at"))
    kept = events[first:last]
    for name, values in query.filters.items():
        position = query.endpoint.dimension_names.index(name)
        kept = [event for event in kept if event.values[position] in values]
    return kept


def _last_readings(events: Iterable[Event], now: int) -> list[Event]:
    """Of a level only the last known reading of each workload counts."""
    return list({event.workload: event for event in events if event.parts_at(now) is not None}.values())


def _grouped(query: UsageQuery, events: Iterable[Event], now: int) -> dict[tuple[Any, ...], list[int]]:
    """The parts added up by the grouped values; the last element of a key is what no request can group by.

    That is the shard (two rows of one bucket can have identical dimensions, seen live) and the unit of the quantity.
    """
    positions = [query.endpoint.dimension_names.index(name) for name in query.group_by]
    has_unit = "line_item" in query.group_by
    groups: dict[tuple[Any, ...], list[int]] = {}
    for event in events:
        parts = event.parts_at(now)
        if parts is None:
            continue
        hidden = (event.shard if positions else 0, event.unit if has_unit else None)
        key = (*[event.values[position] for position in positions], hidden)
        sums = groups.get(key)
        groups[key] = list(parts) if sums is None else list(map(add, sums, parts))
    return groups


def _usage_row(query: UsageQuery, start: int, key: tuple[Any, ...], parts: list[int]) -> dict[str, Any]:
    """A row of counts. A split that is zero may be left out, null or 0: three things seen on the wire."""
    row: dict[str, Any] = dict(zip(query.group_by, key[:-1], strict=True))
    form = zlib.crc32(f"{start}:{key}".encode())
    is_old = start < day_start(CACHE_WRITES_SINCE).timestamp()
    sums = measure_sums(query.endpoint)
    for number, measure in enumerate(query.endpoint.measures):
        value = sum([parts[position] for position in sums[measure.name]])
        if value or measure.is_required:
            row[measure.name] = value
        elif not (is_old and "cache_write" in measure.name):
            draw = (form >> number) % 5
            if draw:
                row[measure.name] = None if draw == 1 else 0
    return row


def _cost_row(query: UsageQuery, key: tuple[Any, ...], parts: list[int]) -> dict[str, Any]:
    """A row of money; the quantity is there only by line item, as only then it has one meaning."""
    amount, quantity = parts
    unit = key[-1][1]
    is_counted = "line_item" in query.group_by and (unit is not None or quantity > 0)
    return dict(zip(query.group_by, key[:-1], strict=True)) | {
        "amount": Decimal(amount).scaleb(-AMOUNT_PLACES),
        "currency": "usd",
        "quantity": Decimal(quantity).scaleb(-QUANTITY_PLACES) if is_counted else None,
        "quantity_unit": unit,
    }
