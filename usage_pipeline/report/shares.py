"""Who and what the cost went to, as ranked lists that add up to the whole: users, keys, teams, projects, models.

Put ranking and naming of such lists here; cost over time is stacks.py's.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from usage_pipeline.report.facts import Facts
from usage_pipeline.report.words import shown

MOST_LINES = 12
KINDS = {"storage": "Storage", "tool": "Tools", "training": "Trainings", "other": "Credits, other lines"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One of a list: its name, its id where that says more, its amount, and its share of the dearest line, 0 to 100."""

    name: str
    note: str
    amount: Decimal
    bar: float
    is_deleted: bool = False


def users(facts: Facts) -> list[Line]:
    """By user; what no user can be found for is one line."""
    return _ranked(
        ((name or who or "No user known", who if name else "", gone, v) for who, name, gone, v in facts.by_user)
    )


def keys(facts: Facts) -> list[Line]:
    """By API key, deleted ones marked."""
    return _ranked(
        ((name or key or "Billed without a key", key if name else "", gone, v) for key, name, gone, v in facts.by_key)
    )


def teams(facts: Facts) -> list[Line]:
    """By team and cost centre."""
    return _ranked(((team, centre or "", gone, v) for team, centre, gone, v in facts.by_team))


def project_name(facts: Facts, project: str | None) -> tuple[str, bool]:
    """A project as people know it, and whether it is gone."""
    if project is None:
        return "No project", False
    name, is_gone = facts.projects.get(project, (None, False))
    return name or project, is_gone


def model_name(model: str | None, kind: str | None) -> str:
    """A model's name; what has no model is called by its kind."""
    return model if model is not None else KINDS.get(kind or "other", str(kind))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUse:
    """What a model cost and did in the period, and what a thousand requests and a million tokens of it cost."""

    name: str
    amount: Decimal
    requests: int
    tokens: int
    per_thousand_requests: Decimal | None
    per_million_tokens: Decimal | None


def models(facts: Facts) -> list[ModelUse]:
    """Cost beside usage, dearest first; what no model is known of has no usage to stand beside."""
    cost: dict[str | None, Decimal] = defaultdict(Decimal)
    for _, model, _, amount in facts.by_model:
        if model is not None:
            cost[model] += amount
    used = {model: (requests, given + made) for model, requests, given, made in facts.model_usage if model is not None}
    found = []
    for model in cost.keys() | used.keys():
        requests, tokens = used.get(model, (0, 0))
        amount = cost.get(model, Decimal(0))
        found.append(
            ModelUse(
                name=shown(model),
                amount=amount,
                requests=requests,
                tokens=tokens,
                per_thousand_requests=amount * 1000 / requests if requests else None,
                per_million_tokens=amount * 1_000_000 / tokens if tokens else None,
            )
        )
    return sorted(found, key=lambda one: (-one.amount, one.name))


def _ranked(rows: Iterable[tuple[str, str, bool, Decimal]]) -> list[Line]:
    """The first lines, and the rest in one; bars by size, of credits too."""
    ranked = sorted(rows, key=lambda row: -row[3])
    most = max((abs(row[3]) for row in ranked), default=Decimal(0)) or Decimal(1)
    lines = [
        Line(name=shown(name), note=shown(note), amount=v, bar=float(abs(v) / most * 100), is_deleted=gone)
        for name, note, gone, v in (ranked if len(ranked) <= MOST_LINES else ranked[: MOST_LINES - 1])
    ]
    if rest := ranked[len(lines) :]:
        amount = sum((row[3] for row in rest), Decimal(0))
        bar = float(min(abs(amount) / most, Decimal(1)) * 100)
        lines.append(Line(name=f"{len(rest)} others", note="", amount=amount, bar=bar))
    return lines
