"""How well the period is known: a calendar of coverage, what was restated, and where the service drifted.

Put the panel on the data's quality here; the headline's three lines of trust are figures.py's.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.report.facts import Facts
from usage_pipeline.report.words import shown

State = Literal["settled", "provisional", "restated", "empty", "missing"]
_MOST_DRIFT = 20
_SENTENCE = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointQuality:
    """An endpoint's days of the period by state, changed rows of closed days, and its last read."""

    endpoint: str
    known: int
    missing: int
    provisional: int
    restated_days: int
    restated_rows: int
    checked_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Something the service answered that the endpoint table does not know, and when it last did."""

    endpoint: str
    said: str
    times: int
    last: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """The panel: every endpoint's day, the endpoints in the table's order, and the warnings."""

    cells: list[tuple[str, date, State]]
    endpoints: list[EndpointQuality]
    drift: list[Drift]
    more_drift: int


def quality(facts: Facts) -> Quality:
    """The panel of the period."""
    known = {(endpoint, day): (rows, is_settled) for endpoint, day, rows, _, is_settled, _ in facts.coverage}
    restated: dict[str, dict[date, int]] = defaultdict(dict)
    for endpoint, day, rows, _ in facts.restatements:
        restated[endpoint][day] = rows
    checked: dict[str, datetime] = {}
    for endpoint, _, _, _, _, at in facts.coverage:
        checked[endpoint] = max(at, checked.get(endpoint, at))
    cells: list[tuple[str, date, State]] = []
    endpoints = []
    for name in ENDPOINTS:
        states = [_state(known.get((name, day)), day in restated[name]) for day in facts.period.days]
        cells += [(name, day, state) for day, state in zip(facts.period.days, states, strict=True)]
        days = [known[name, day] for day in facts.period.days if (name, day) in known]
        endpoints.append(
            EndpointQuality(
                endpoint=name,
                known=len(days),
                missing=states.count("missing"),
                provisional=sum(not is_settled for _, is_settled in days),
                restated_days=len(restated[name]),
                restated_rows=sum(restated[name].values()),
                checked_at=checked.get(name),
            )
        )
    drift = [Drift(endpoint=name, said=shown(said, _SENTENCE), times=n, last=at) for name, said, n, at in facts.drift]
    return Quality(
        cells=cells, endpoints=endpoints, drift=drift[:_MOST_DRIFT], more_drift=max(len(drift) - _MOST_DRIFT, 0)
    )


def _state(known: tuple[int, bool] | None, is_restated: bool) -> State:
    if known is None:
        return "missing"
    rows, is_settled = known
    if is_restated:
        return "restated"
    if not is_settled:
        return "provisional"
    return "settled" if rows else "empty"
