"""What changed, and what stood out: movers in sentences, and anomalies with what is behind them.

Put choosing and wording of these here; the effects are marts/change.py's, the anomalies a mart's.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from usage_pipeline.explain import Explanation, caveats, label, sentences
from usage_pipeline.report.facts import Facts
from usage_pipeline.report.shares import project_name
from usage_pipeline.report.words import money, shown

_MOST = 5
_SENTENCE = 700
_DRIVER = re.compile(r"(?s)(.*) ([+-][0-9.]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mover:
    """One that cost more or less than before: its name, and why in a sentence."""

    name: str
    said: str
    is_up: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Movers:
    """The whole change in a sentence, the largest movers of one kind, and how many more there are."""

    by: str
    whole: str
    movers: list[Mover]
    more: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Anomaly:
    """A day that stood out, of all cost or of one project or model."""

    day: date
    what: str
    said: str
    drivers: list[str]
    is_up: bool


def movers(facts: Facts) -> list[Movers]:
    """By project and by model; none where nothing can be compared."""
    return [_movers(found) for found in facts.explanations.values()]


def notes(facts: Facts) -> list[str]:
    """What to know before trusting the comparison."""
    if facts.unexplained is not None:
        said = facts.unexplained
        return [shown(said[:1].upper() + said[1:], _SENTENCE)]
    found = facts.explanations.values()
    return list(dict.fromkeys(shown(line, _SENTENCE) for one in found for line in caveats(one)))


def anomalies(facts: Facts) -> list[Anomaly]:
    """All of the period, newest first."""
    return [_anomaly(facts, *row) for row in facts.anomalies]


def _movers(found: Explanation) -> Movers:
    whole, *lines = sentences(found)
    # the sentences come in the order of the items; what is below a cent is only counted, in the last line
    told = list(zip(found.told.items, lines, strict=False))[:_MOST]
    shown_movers = []
    for one, line in told:
        called = f"{label(found, one.item)}: "
        if not line.startswith(called):
            break
        name = found.names.get(one.item or "") or label(found, one.item)
        said = shown(line.removeprefix(called), _SENTENCE)
        shown_movers.append(Mover(name=shown(name), said=said, is_up=one.change > 0))
    more = len(found.told.items) - len(shown_movers)
    return Movers(by=found.by, whole=shown(whole.removeprefix("In all: "), _SENTENCE), movers=shown_movers, more=more)


def _anomaly(
    facts: Facts,
    day: date,
    dimension: str,
    key: str | None,
    amount: Decimal,
    expected: Decimal,
    direction: str,
    is_large: bool,
    drivers: str | None,
) -> Anomaly:
    name = project_name(facts, key)[0] if dimension == "project" else key
    what = "All cost" if dimension == "total" else f"{dimension.capitalize()} {shown(name)}"
    said = f"{money(amount, facts.currency)}, {money(expected, facts.currency)} expected"
    if is_large:
        said += "; an order of magnitude, as after a change of unit or currency"
    parts = (drivers or "").split("; ") if drivers else []
    return Anomaly(
        day=day, what=what, said=said, drivers=[_driver(facts, part) for part in parts], is_up=direction == "up"
    )


def _driver(facts: Facts, part: str) -> str:
    """`Search +12.30` for `proj_abc +12.30`."""
    found = _DRIVER.fullmatch(part)
    if found is None:
        return shown(part)
    return f"{shown(project_name(facts, found[1])[0])} {found[2]}"
