"""Everything the report tells, read from one version of the published file.

Put reading here; what is made of the answers is told by the modules beside this one.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from usage_pipeline.errors import FixConfig
from usage_pipeline.explain import Explanation, explain
from usage_pipeline.lake.query import asking
from usage_pipeline.report import queries
from usage_pipeline.report.period import Period, choose_period
from usage_pipeline.report.queries import Row, put
from usage_pipeline.settings import Settings

_MOVERS = ("project", "model")
_USD = "usd"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A row of `marts.budget_status`: the month of the organization (project_id null) or of a project."""

    scope: str
    project_id: str | None
    budget: Decimal | None
    month_to_date: Decimal
    forecast: Decimal
    low: Decimal | None
    high: Decimal | None
    backtest_error: Decimal | None
    share_used: Decimal | None
    status: str
    as_of: date
    days_left: int
    days_missing: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The answers, for one organization, period and currency; `other_currencies` are never added to it."""

    organization: str
    currency: str
    other_currencies: list[tuple[str, Decimal]]
    period: Period
    as_of: date
    now: datetime
    synced: datetime | None
    projects: dict[str, tuple[str, bool]]
    by_project: list[Row]
    by_model: list[Row]
    by_user: list[Row]
    by_key: list[Row]
    by_team: list[Row]
    budgets: list[Budget]
    month_days: list[Row]
    anomalies: list[Row]
    reconciliation: Row
    usage: list[Row]
    model_usage: list[Row]
    coverage: list[Row]
    restatements: list[Row]
    drift: list[Row]
    hours: list[Row]
    explanations: dict[str, Explanation]
    unexplained: str | None


def read_facts(
    settings: Settings, *, month: str | None, last: int | None, currency: str | None, now: datetime
) -> Facts:
    """Ask all questions.

    Raises:
        FixConfig: an argument is wrong, or nothing is published yet.
        LakeDamaged: the published file or one of the lake's is gone.
    """
    values: dict[str, Any] = {"organization": settings.organization}
    with asking(settings.warehouse_path, settings.lake_dir) as ask:
        ((first_known, last_known),) = put(ask, queries.KNOWN, values)
        as_of: date = last_known or now.date()
        period = choose_period(month, last, as_of, first_known)
        values |= {"first": period.first, "end": period.window.end.date(), "month": period.month}
        currencies = put(ask, queries.CURRENCIES, values)
        values["currency"] = _currency(currency, [code for code, _ in currencies])
        answers = {name: put(ask, getattr(queries, name.upper()), values) for name in _LISTS}
        ((synced,),) = put(ask, queries.SYNCED, values)
        (reconciliation,) = put(ask, queries.RECONCILIATION, values)
        budgets = [_budget(row) for row in put(ask, queries.BUDGETS, values)]
        projects = {identity: (name, gone) for identity, name, gone in put(ask, queries.PROJECTS, values)}
    explanations, unexplained = _explained(settings, period, values["currency"])
    return Facts(
        organization=settings.organization,
        currency=values["currency"],
        other_currencies=[(code, amount) for code, amount in currencies if code != values["currency"]],
        period=period,
        as_of=as_of,
        now=now,
        synced=synced,
        projects=projects,
        budgets=budgets,
        reconciliation=reconciliation,
        explanations=explanations,
        unexplained=unexplained,
        **answers,
    )


_LISTS = (
    "by_project", "by_model", "by_user", "by_key", "by_team", "month_days", "anomalies", "usage", "model_usage",
    "coverage", "restatements", "drift", "hours",
)  # fmt: skip


def _currency(asked: str | None, billed: list[str]) -> str:
    """The one asked for, else the one billed on most days."""
    if asked is None:
        return billed[0] if billed else _USD
    if billed and asked not in billed:
        raise FixConfig(f"nothing was billed in {asked!r} in these days: --currency {' or '.join(billed)}.")
    return asked


def _budget(row: Row) -> Budget:
    scope, project, budget, to_date, forecast, low, high, error, share, status, as_of, left, missing = row
    return Budget(
        scope=scope,
        project_id=project,
        budget=budget,
        month_to_date=to_date,
        forecast=forecast,
        low=low,
        high=high,
        backtest_error=error,
        share_used=share,
        status=status,
        as_of=as_of,
        days_left=left,
        days_missing=missing,
    )


def _explained(settings: Settings, period: Period, currency: str) -> tuple[dict[str, Explanation], str | None]:
    """The change against the days before, or why there is none to tell.

    Asked a moment after the rest: where a sync published in between, it tells of the newer bill.
    """
    found = {}
    for by in _MOVERS:
        try:
            found[by] = explain(settings, period.before, period.window, by=by, currency=currency)
        except FixConfig as missing:
            return {}, str(missing)
    return found, None
