"""Cost per day cut into a few series, largest first, and all the others together; the parts add up exactly.

Put choosing and adding here. Series are known by ids of ours (`s0`): no text of upstream goes into a chart.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from usage_pipeline.report.words import shown

MOST_SERIES = 8  # colours that people still tell apart
OTHER = "other"

Key = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One colour of a chart: what it is called, its total, and whether what it names is gone."""

    id: str
    name: str
    total: Decimal
    is_deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The series, what each cost on each day (days without cost are absent), and the sums of the days."""

    series: list[Series]
    amounts: dict[tuple[date, str], Decimal]
    days: dict[date, Decimal]

    @property
    def total(self) -> Decimal:
        """All of it."""
        return sum(self.days.values(), Decimal(0))


def stack(
    rows: Iterable[tuple[date, Key, Decimal]], days: Sequence[date], name: Callable[[Key], tuple[str, bool]]
) -> Stack:
    """Cut the rows; `name` gives a key's name and whether what it names is gone."""
    totals: dict[Key, Decimal] = defaultdict(Decimal)
    by_day: dict[date, Decimal] = {one: Decimal(0) for one in days}
    held = list(rows)
    for day, key, amount in held:
        totals[key] += amount
        by_day[day] += amount
    ranked = sorted(totals, key=lambda key: (-abs(totals[key]), tuple(part or "" for part in key)))
    kept = ranked if len(ranked) <= MOST_SERIES else ranked[:MOST_SERIES]
    ids = {key: f"s{place}" for place, key in enumerate(kept)}
    amounts: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for day, key, amount in held:
        amounts[day, ids.get(key, OTHER)] += amount
    series = []
    for key in kept:
        label, is_gone = name(key)
        series.append(Series(id=ids[key], name=shown(label), total=totals[key], is_deleted=is_gone))
    if rest := ranked[len(kept) :]:
        total = sum((totals[key] for key in rest), Decimal(0))
        series.append(Series(id=OTHER, name=f"{len(rest)} others", total=total))
    return Stack(series=series, amounts=dict(amounts), days=by_day)
