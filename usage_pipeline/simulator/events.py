"""What happens on one day of one endpoint, and what later becomes of it.

Put the making of events and of their fate (late, revised, gone, emptied) here; adding them up is in `organization`,
money in `billing`. Everything follows from the seed and the day, never from when it is asked.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from usage_pipeline.endpoints import Endpoint, Measure
from usage_pipeline.simulator.catalogue import EVENT_SIZES, USUAL_SIZES
from usage_pipeline.simulator.chance import chance
from usage_pipeline.simulator.roster import FOUNDED, Roster
from usage_pipeline.simulator.tokens import has_token_parts, token_parts
from usage_pipeline.simulator.workloads import Value, Workload
from usage_pipeline.windows import DAY_SECONDS, day_start

SETTLED_AFTER = timedelta(days=7)  # after its end plus this, nothing of a day changes any more
NEVER = 1 << 62

_HOUR = 3600
_QUIET_SHARE, _EMPTIED_SHARE, _RESTORED_SHARE, _SPLIT_SHARE = 0.015, 0.025, 0.5, 0.05
_WEEKDAY_SHARE, _WEEKEND_SHARE = 0.88, 0.5
_VANISHING_SHARE, _REVISED_SHARE = 0.015, 0.03
_MOST_EVENTS = 4


@dataclass(slots=True)
class Event:
    """Something that was used, with its life: seen from `seen_at`, other parts from `revised_at`, gone at `gone_at`.

    Times are unix seconds; `parts` add up to the measures. Events that differ in `shard` never share a row, so a
    bucket can hold two rows with the same dimensions. `unit` is the quantity's, on costs.
    """

    at: int
    workload: int
    values: tuple[Value, ...]
    parts: tuple[int, ...]
    seen_at: int
    revised_at: int = NEVER
    revised: tuple[int, ...] = ()
    gone_at: int = NEVER
    shard: int = 0
    unit: str | None = None

    def parts_at(self, now: int) -> tuple[int, ...] | None:
        """The parts as known at a moment; None while or once unknown."""
        if not self.seen_at <= now < self.gone_at:
            return None
        return self.parts if now < self.revised_at else self.revised


@dataclass(frozen=True, kw_only=True, slots=True)
class DayFate:
    """What befalls a whole day of an endpoint: nothing used at all, or its rows missing for a while or for ever."""

    is_quiet: bool
    emptied_at: int
    restored_at: int
    split_workload: int | None

    def is_empty(self, now: int) -> bool:
        """Whether the day's buckets have no rows at that moment, whatever was used."""
        return self.is_quiet or self.emptied_at <= now < self.restored_at


def fate_of(seed: int, endpoint: Endpoint, day: date, workloads: int) -> DayFate:
    """The fate of a day, before any of its events is made."""
    rng = chance(seed, "fate", endpoint.name, day)
    end = _end_of(day)
    emptied_at = end + rng.randrange(12 * _HOUR, 80 * _HOUR) if rng.random() < _EMPTIED_SHARE else NEVER
    restored_at = emptied_at + rng.randrange(20 * _HOUR, 60 * _HOUR) if rng.random() < _RESTORED_SHARE else NEVER
    return DayFate(
        is_quiet=day < FOUNDED or rng.random() < _QUIET_SHARE,
        emptied_at=emptied_at,
        restored_at=restored_at,
        split_workload=rng.randrange(workloads) if workloads and rng.random() < _SPLIT_SHARE else None,
    )


def events_of(seed: int, endpoint: Endpoint, day: date, workloads: list[Workload], roster: Roster) -> list[Event]:
    """Every event of a day, in order of time, from those first seen within minutes to those a day late."""
    fate = fate_of(seed, endpoint, day, len(workloads))
    if fate.is_quiet:
        return []
    rng = chance(seed, endpoint.name, day)
    keys = roster.keys_on(day)
    found: list[Event] = []
    for workload in workloads:
        key = keys[workload.slot]
        made = [*_made_by(rng, endpoint, day, workload)]
        if key is None or day < workload.since:
            continue
        values = workload.values(endpoint, key)
        gone_at = _end_of(day) + rng.randrange(8 * _HOUR, 110 * _HOUR) if rng.random() < _VANISHING_SHARE else NEVER
        for position, (at, parts) in enumerate(made):
            event = Event(at, workload.number, values, parts, at + _delay(rng), gone_at=gone_at)
            if rng.random() < _REVISED_SHARE:
                event.revised_at = _end_of(day) + rng.randrange(6 * _HOUR, 120 * _HOUR)
                event.revised = _rescaled(parts, rng.choice((60, 85, 95, 104, 110, 150)))
            event.shard = position % 2 if workload.number == fate.split_workload else 0
            found.append(event)
    return sorted(found, key=lambda event: event.at)


def is_level(endpoint: Endpoint) -> bool:
    """Whether the endpoint reports a level (readings taken on the hour), not things that happen."""
    return not all(m.is_additive for m in endpoint.measures)


def _made_by(
    rng: random.Random, endpoint: Endpoint, day: date, workload: Workload
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The moments a workload used the endpoint, and what of it."""
    start = int(day_start(day).timestamp())
    if is_level(endpoint):
        for hour in range(24):
            yield start + hour * _HOUR, _levels(endpoint, workload, start // _HOUR + hour)
        return
    if rng.random() > (_WEEKDAY_SHARE if day.weekday() < 5 else _WEEKEND_SHARE):
        return
    for _ in range(rng.randint(1, _MOST_EVENTS)):
        yield start + rng.randrange(DAY_SECONDS), _parts(rng, endpoint, day, workload)


def _parts(rng: random.Random, endpoint: Endpoint, day: date, workload: Workload) -> tuple[int, ...]:
    if has_token_parts(endpoint):
        return token_parts(rng, str(workload.fixed["model"]), day, _size(rng, "tokens"), _size(rng, "requests"))
    return tuple(_size(rng, m.unit) for m in endpoint.measures)


def _size(rng: random.Random, unit: str) -> int:
    """A size between the unit's usual bounds, small ones far more often than large ones."""
    low, high = EVENT_SIZES.get(unit, USUAL_SIZES)
    return int(low * (high / low) ** rng.random())


def _levels(endpoint: Endpoint, workload: Workload, hour: int) -> tuple[int, ...]:
    """A level that grows slowly and wavers by the hour, the same whenever it is asked for."""
    return tuple(_level(m, workload.number, hour) for m in endpoint.measures)


def _level(measure: Measure, number: int, hour: int) -> int:
    low, high = EVENT_SIZES.get(measure.unit, USUAL_SIZES)
    base = low + (high - low) * ((number * 37) % 10) // 10
    waver = (hour * 2_654_435_761 + number * 97) % 1_000
    return base + base * (hour % 20_000) // 60_000 + base * waver // 100_000


def _delay(rng: random.Random) -> int:
    """Seconds until an event is seen: mostly minutes, sometimes hours, rarely a day."""
    draw = rng.random()
    if draw < 0.85:
        return rng.randrange(20, 900)
    return rng.randrange(900, 4 * _HOUR) if draw < 0.98 else rng.randrange(4 * _HOUR, 30 * _HOUR)


def _rescaled(parts: tuple[int, ...], percent: int) -> tuple[int, ...]:
    """Each part scaled and rounded up, so that the identities between measures still hold and no count becomes 0."""
    return tuple(-(-part * percent // 100) for part in parts)


def _end_of(day: date) -> int:
    return int(day_start(day).timestamp()) + DAY_SECONDS
