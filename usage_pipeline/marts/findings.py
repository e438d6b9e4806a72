"""What `marts.budget_status` and `marts.anomalies` say that someone should act on.

Put judging of these two marts here, with the words that say what to do; who is told is decided by those who ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from usage_pipeline.lake.engine import session
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.labels import labelled, last_names
from usage_pipeline.marts.tables import pin_mart

_EXPLAIN = "usage-pipeline explain"  # the command that messages advise; with whose it is where there are several
_NOW = "organization = $organization and month = date_trunc('month', as_of)"
_BUDGETS = """
select
    scope, project_id, strftime(month, '%Y-%m'), currency, budget, budget_source, month_to_date, forecast, status, as_of
from ({budgets})
where {now} and (status in ('breached', 'at_risk') or status = 'no_cost' and budget_source = 'budgets.csv')
order by status desc, scope, project_id, currency
"""
_ANOMALIES = """
select dimension, key, date, currency, amount, expected, direction, is_order_of_magnitude, drivers
from ({anomalies})
where organization = $organization and date = (select max(as_of) from ({budgets}) where {now})
order by dimension = 'total' desc, abs(amount - expected) desc
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something a check found: an error fails it, a warning does not; `key` is the same as long as it is the same."""

    check: str
    is_error: bool
    key: str
    message: str


def budget_findings(lake: Lake, organization: str, *, explain: str = _EXPLAIN) -> list[Finding]:
    """Budgets of the current month (of the last closed day): breached is an error, at risk and no cost are warnings."""
    projects = last_names(lake, organization, "project")
    return [_budget(organization, explain, projects, *row) for row in _ask(lake, _BUDGETS, organization)]


def anomaly_findings(lake: Lake, organization: str, *, explain: str = _EXPLAIN) -> list[Finding]:
    """Anomalies on the last closed day; a change by an order of magnitude is an error, others are warnings."""
    projects = last_names(lake, organization, "project")
    return [_anomaly(organization, explain, projects, *row) for row in _ask(lake, _ANOMALIES, organization)]


def _ask(lake: Lake, statement: str, organization: str) -> Sequence[tuple[Any, ...]]:
    scans = {
        "budgets": pin_mart(lake, "budget_status").scan(),
        "anomalies": pin_mart(lake, "anomalies").scan(),
    }
    with session() as con:
        return con.execute(statement.format(now=_NOW, **scans), {"organization": organization}).fetchall()


def _budget(
    organization: str,
    explain: str,
    projects: dict[str, str],
    scope: str,
    project: str | None,
    month: str,
    *row: Any,
) -> Finding:
    currency, budget, source, spent, forecast, status, as_of = row
    who = "the organization" if scope == "organization" else f"project {labelled(project, 'project', projects)}"
    advice = (
        f"See where it goes (`{explain} --from {_month_before(as_of)} --to {month}`), "
        f"then spend less or raise the {'budget in budgets.csv' if source == 'budgets.csv' else 'spend limit'}."
    )
    if status == "breached":
        said = (
            f"{who} has spent {_money(spent, currency)} of {_money(budget, currency)} for {month} by {as_of}. {advice}"
        )
    elif status == "no_cost":
        said = (
            f"nothing was ever billed to {who} in {currency.upper()}, so {_money(budget, currency)} for {month} cannot "
            "be breached. Look for its line in budgets.csv: is the project_id one of dims.projects, and the currency "
            "that of the bill?"
        )
    else:
        said = (
            f"{who} will spend {_money(forecast, currency)} of {_money(budget, currency)} for {month}; "
            f"{_money(spent, currency)} by {as_of}. {advice}"
        )
    return Finding(
        check="budget",
        is_error=status == "breached",
        key=f"budget|{organization}|{month}|{project or ''}|{currency}|{status}",
        message=f"Budget {status.replace('_', ' ')}: {said}",
    )


def _anomaly(
    organization: str, explain: str, projects: dict[str, str], dimension: str, key: str | None, *row: Any
) -> Finding:
    day, currency, amount, expected, direction, is_large, drivers = row
    what = "All cost" if dimension == "total" else f"Cost of {dimension} {labelled(key, dimension, projects)}"
    how = "by an order of magnitude (a changed unit or currency looks so)" if is_large else "far from usual"
    by = dimension if dimension != "total" else "project"
    windows = f"--from {day - timedelta(days=7)} --to {day}"
    return Finding(
        check="anomaly",
        is_error=bool(is_large),
        key=f"anomaly|{organization}|{day}|{dimension}|{key or ''}|{currency}",
        message=(
            f"{what} on {day} is {direction} {how}: {_money(amount, currency)}, expected {_money(expected, currency)}. "
            f"Behind it: {drivers}. Compare with a week before: `{explain} {windows} --by {by}`."
        ),
    )


def _month_before(day: Any) -> str:
    return f"{day.replace(day=1) - timedelta(days=1):%Y-%m}"


def _money(amount: Decimal, currency: str | None) -> str:
    return f"{amount:,.2f} {(currency or '').upper()}".strip()
