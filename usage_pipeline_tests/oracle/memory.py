"""The oracle's memory: what was served and accepted, and what everything must therefore say.

Put expectations here, in plain Python and exact decimals; nothing of the package's code is used. A world is one
possible state: after a crash there are several, and what is seen later decides between them.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

_WIDE = Context(prec=200)
_CENT = Decimal(1).scaleb(-20)
_ONE_DAY = timedelta(days=1)

COST_KEY = ("project_id", "user_id", "line_item", "api_key_id", "api_source", "currency", "quantity_unit")
COST_VALUES = ("amount", "amount_literal", "quantity", "extras")
USAGE_KEY = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source")
USAGE_VALUES = ("input_tokens", "output_tokens", "num_model_requests", "input_cached_tokens", "extras")
KEYS = {"costs": COST_KEY, "completions": USAGE_KEY}
VALUES = {"costs": COST_VALUES, "completions": USAGE_VALUES}

Row = tuple[Any, ...]  # the key's columns, then the values'
View = dict[str, Any]


def rows_of(endpoint: str, texts: Sequence[str]) -> dict[Row, Row]:
    """The rows of a day, key -> values, from the service's JSON texts."""
    found: dict[Row, Row] = {}
    for text in texts:
        key, values = _row(endpoint, json.loads(text, parse_float=str))
        found[key] = _sum(endpoint, found[key], values) if key in found else values
    return {key: _fitted(endpoint, values) for key, values in found.items()}


def _row(endpoint: str, result: dict[str, Any]) -> tuple[Row, Row]:
    result.pop("object")
    if endpoint == "costs":
        amount = result.pop("amount")
        literal = None if amount["value"] is None else str(amount["value"])
        result["currency"] = amount["currency"]
        exact = [None if n is None else Decimal(n) for n in (literal, result.pop("quantity"))]
        values: list[Any] = [exact[0], literal, exact[1]]
    else:
        values = [result.pop(name) for name in USAGE_VALUES[:-1]]
    key = tuple(result.pop(name, None) for name in KEYS[endpoint])
    return key, (*values, extras_of([result]) if result else ())


def extras_of(objects: Sequence[Any]) -> tuple[str, ...]:
    """Unknown fields of the results behind a row, in a form that can be compared."""
    return tuple(sorted({json.dumps(one, sort_keys=True) for one in objects}))


def _sum(endpoint: str, one: Row, other: Row) -> Row:
    added = [
        b if a is None else a if b is None else _WIDE.add(a, b) if isinstance(a, Decimal) else a + b
        for a, b in zip(one[:-1], other[:-1], strict=True)
        if not isinstance(a, str)
    ]
    if endpoint == "costs":
        added.insert(1, None if added[0] is None else format(added[0].normalize(_WIDE), "f"))
    return (*added, tuple(sorted({*one[-1], *other[-1]})))


def _fitted(endpoint: str, values: Row) -> Row:
    if endpoint != "costs":
        return values
    amount, literal, quantity, extras = values
    return (_money(amount), literal, _money(quantity), extras)


def _money(number: Decimal | None) -> Decimal | None:
    return None if number is None else number.quantize(_CENT, rounding=ROUND_HALF_EVEN, context=_WIDE)


@dataclass(frozen=True)
class Read:
    """One window of one endpoint as it was served: what a successful run must leave behind."""

    endpoint: str
    first: date
    end: date
    fetched_at: datetime
    texts: Mapping[date, tuple[str, ...]]

    def overlaps(self, first: date, end: date) -> bool:
        """Whether they have a day in common."""
        return self.first < end and first < self.end

    def is_in(self, name: str) -> bool:
        """Whether a raw file, by its path, is this read's."""
        start = int(datetime.combine(self.first, datetime.min.time(), UTC).timestamp())
        stamp = f"/{self.fetched_at:%Y%m%dT%H%M%S}."
        return f"/{self.endpoint}/" in name and stamp in name and f"-{start}." in name


@dataclass(frozen=True)
class Accepted:
    """A read that a run stored or found nothing new in, and the days it changed."""

    read: Read
    changed: frozenset[date]

    @property
    def said(self) -> str:
        """Its outcome in the coverage log."""
        return "replaced" if self.changed else "unchanged"


@dataclass
class World:
    """One state things can be in; `shown` is what the published file says (None: there is none)."""

    days: dict[tuple[str, date], dict[Row, Row]] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)
    restated: Counter[Row] | None = field(default_factory=Counter)  # None: no longer told by order alone
    orphans: list[Read] = field(default_factory=list)  # landed by a killed writer, never committed
    lost: list[Read] = field(default_factory=list)  # accepted ones whose raw file is gone
    is_in_order: bool = True
    shown: View | None = None

    def copy(self) -> "World":
        """One that can go its own way."""
        other = copy(self)
        other.days, other.accepted = dict(self.days), list(self.accepted)
        other.orphans, other.restated = list(self.orphans), copy(self.restated)
        other.lost = list(self.lost)
        return other

    def accept(self, read: Read, *, is_blind_to_checks: bool = False) -> None:
        """A run that read this succeeded: days hold it, unless a read begun later already told them otherwise.

        One that had compared before a later read found nothing new on a day could not see that: it is blind to checks.
        """
        changed: set[date] = set()
        self.is_in_order &= not any(
            one.read.endpoint == read.endpoint
            and one.read.overlaps(read.first, read.end)
            and one.read.fetched_at > read.fetched_at
            for one in self.accepted
        )
        for day, texts in read.texts.items():
            of_day = [
                one
                for one in self.accepted
                if one.read.endpoint == read.endpoint and one.read.overlaps(day, day + _ONE_DAY)
            ]
            later = [one for one in of_day if one.read.fetched_at > read.fetched_at]
            if any(day in one.changed or not is_blind_to_checks for one in later):
                continue
            before, now = self.days.get((read.endpoint, day)), rows_of(read.endpoint, texts)
            if before == now:
                continue
            changed.add(day)
            self.days[read.endpoint, day] = now
            if before is not None and self.restated is not None:
                checked_at = max(one.read.fetched_at for one in of_day if one.read.fetched_at < read.fetched_at)
                was_open = datetime.combine(day + _ONE_DAY, datetime.min.time(), UTC) > checked_at
                self.restated.update(_changes(read.endpoint, day, before, now, was_open))
        self.accepted.append(Accepted(read, frozenset(changed)))

    def replay(self) -> None:
        """Raw is applied again: an orphan counts unless a later accepted read touches its window."""
        if not self.is_in_order:
            self.restated = None
        self.take_orphans()

    def take_orphans(self) -> None:
        """What was landed and never committed counts, unless a later accepted read touches its window."""
        for orphan in sorted(self.orphans, key=lambda read: read.fetched_at):
            later = [
                one
                for one in self.accepted
                if one.read.endpoint == orphan.endpoint
                and one.read.fetched_at > orphan.fetched_at
                and one.read.overlaps(orphan.first, orphan.end)
            ]
            if not later:
                self.orphans.remove(orphan)
                self.accept(orphan)

    def lose(self, name: str) -> None:
        """The raw file of an accepted read is gone."""
        self.lost += [one.read for one in self.accepted if one.read.is_in(name)]

    def forgets_by_replay(self) -> bool:
        """Whether the newest file raw has of a day that a lost read changed tells it otherwise, or there is none."""
        kept = [one.read for one in self.accepted if one.changed and one.read not in self.lost]
        for one in self.accepted:
            for day in one.changed if one.read in self.lost else ():
                others = [read for read in kept if read.endpoint == one.read.endpoint and day in read.texts]
                newest = max(others, key=lambda read: read.fetched_at, default=None)
                if newest is None or rows_of(newest.endpoint, newest.texts[day]) != self.days[newest.endpoint, day]:
                    return True
        return False

    def forget_checks(self) -> None:
        """Without the coverage log nobody knows which reads found nothing new, nor what was open when."""
        self.accepted = [one for one in self.accepted if one.changed]
        self.restated = None

    def due(self, endpoint: str, start: date, today: date, lookback: int) -> list[tuple[date, date]]:
        """The windows a scheduled run reads: unknown days, the lookback, and what was last read too young."""
        windows: list[tuple[date, date]] = []
        for n in range((today - start).days + 1):
            day = start + n * _ONE_DAY
            checks = [
                one.read.fetched_at
                for one in self.accepted
                if one.read.endpoint == endpoint and one.read.overlaps(day, day + _ONE_DAY)
            ]
            is_old = day < today - lookback * _ONE_DAY
            if is_old and checks and max(checks).date() >= day + lookback * _ONE_DAY:
                continue
            if windows and windows[-1][1] == day:
                windows[-1] = (windows[-1][0], day + _ONE_DAY)
            else:
                windows.append((day, day + _ONE_DAY))
        return windows

    def publish(self) -> None:
        """The published file now says what is known."""
        self.shown = self.view()

    def view(self) -> View:
        """What every published table must hold."""
        known: Counter[Row] = Counter()
        for (endpoint, day), rows in self.days.items():
            known[endpoint, day, len(rows)] += 1
        log = Counter(
            (one.read.endpoint, one.read.first, one.read.end, one.read.fetched_at.replace(tzinfo=None), one.said)
            for one in self.accepted
        )
        return {
            **{f"usage.{name}": self._rows(name) for name in KEYS},
            "meta.coverage": known,
            "meta.sync_log": log,
            "meta.restatements": self.restated,
            **self._marts(),
        }

    def _rows(self, name: str) -> Counter[Row]:
        return Counter(
            (day, *key, *values) for (endpoint, day), rows in self.days.items() if endpoint == name
            for key, values in rows.items()
        )  # fmt: skip

    def _marts(self) -> View:
        line: dict[Row, Decimal | None] = {}
        project: dict[Row, Decimal | None] = {}
        usage: dict[Row, Decimal] = {}
        for row in self._rows("costs"):
            day, _project, _, item, key, _, currency, unit, amount, _, quantity, _ = row
            _add(line, (day, _project, item, key, currency), amount)
            _add(project, (day, _project, currency), amount)
            _add(usage, (day, "costs", _project, "amount", currency), amount)
            _add(usage, (day, "costs", _project, "quantity", unit), quantity)
        for row in self._rows("completions"):
            for measure, number in zip(USAGE_VALUES[:-1], row[8:12], strict=True):
                unit = "requests" if measure == "num_model_requests" else "tokens"
                value = None if number is None else Decimal(number)
                _add(usage, (row[0], "completions", row[1], measure, unit), value)
        told = {key: value for key, value in usage.items() if value is not None}
        return {"marts.cost_daily": line, "marts.cost_daily_by_project": project, "marts.usage_daily": told}


def _add(sums: dict[Row, Any], key: Row, value: Decimal | None) -> None:
    before = sums.get(key)
    sums[key] = before if value is None else value if before is None else _WIDE.add(before, value)


def _changes(endpoint: str, day: date, before: dict[Row, Row], now: dict[Row, Row], was_open: bool) -> list[Row]:
    found: list[Row] = []
    for key in before.keys() | now.keys():
        if before.get(key) != now.get(key):
            change = "inserted" if key not in before else "deleted" if key not in now else "updated"
            found.append((endpoint, day, change, key, was_open, _told(before.get(key)), _told(now.get(key))))
    return found


def _told(values: Row | None) -> Decimal | None:
    """The first value: the amount, or the input tokens."""
    return None if values is None or values[0] is None else Decimal(values[0])
