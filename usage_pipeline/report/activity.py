"""Usage beside cost, and when it happens: measures of a day in one scale, and requests by weekday and hour.

Put what these two charts draw here; what models cost and did is shares.py's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from usage_pipeline.report.charts import HEAT_STEPS
from usage_pipeline.report.facts import Facts
from usage_pipeline.report.stacks import Stack

MEASURES = {"cost": "Cost", "requests": "Requests", "tokens": "Tokens"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """Each measure day by day as a percentage of its average day, and the heat map's cells where hours are known."""

    lines: dict[str, list[tuple[date, float]]]
    hours: list[tuple[int, int, int, float]]
    busiest: tuple[int, int, float] | None


def activity(facts: Facts, cost: Stack) -> Activity:
    """Of the period."""
    requests = {day: float(count) for day, count, _ in facts.usage}
    tokens = {day: float(count) for day, _, count in facts.usage}
    measured = {"cost": {day: float(v) for day, v in cost.days.items()}, "requests": requests, "tokens": tokens}
    hours = _hours(facts)
    busiest = max(hours, key=lambda cell: cell[3], default=None)
    return Activity(
        lines={name: _indexed(days, facts.period.days) for name, days in measured.items()}
        if requests and len(facts.period.days) > 1
        else {},
        hours=hours,
        busiest=None if busiest is None else (busiest[0], busiest[1], busiest[3]),
    )


def _indexed(amounts: Mapping[date, float], days: list[date]) -> list[tuple[date, float]]:
    mean = sum(amounts.values()) / len(days)
    return [(day, amounts.get(day, 0.0) / mean * 100) for day in days] if mean > 0 else []


def _hours(facts: Facts) -> list[tuple[int, int, int, float]]:
    """Weekday, hour, shade and mean requests; hours without any are of the lightest shade."""
    means = {(weekday, hour): requests / days for weekday, hour, requests, days in facts.hours}
    if not means:
        return []
    most = max(means.values()) or 1
    cells = []
    for weekday in sorted({weekday for weekday, _ in means}):
        for hour in range(24):
            mean = means.get((weekday, hour), 0.0)
            cells.append((weekday, hour, min(int(mean / most * HEAT_STEPS), HEAT_STEPS - 1), mean))
    return cells
