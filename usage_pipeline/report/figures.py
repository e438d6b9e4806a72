"""The headline: what was spent and what is to come, against what was planned, and how far to trust it.

Put figures that stand at the top of the report here; each is a number of a mart, or a sum or quotient of such.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from usage_pipeline.check import FRESH
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.report import words
from usage_pipeline.report.facts import Budget, Facts

Mood = Literal["good", "watch", "bad", "plain"]
_MUCH_PROVISIONAL = Decimal("0.5")
_WELL_EXPLAINED = Decimal("0.9")
_STATUS: dict[str, tuple[str, Mood]] = {
    "ok": ("within budget", "good"),
    "at_risk": ("forecast above budget", "watch"),
    "breached": ("over budget", "bad"),
    "no_cost": ("nothing billed", "plain"),
    "no_budget": ("no budget", "plain"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One card: what it is, its value for people, every digit of an amount, what to know of it, and how it bodes."""

    id: str
    label: str
    value: str
    note: str
    exact: str | None = None
    mood: Mood = "plain"
    pill: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """One line on how far the figures can be trusted."""

    label: str
    value: str
    note: str
    mood: Mood


def headline(facts: Facts, total: Decimal) -> list[Figure]:
    """The cards, in order; `total` is what the period's days cost."""
    month = f"{facts.period.month:%B %Y}"
    own = organization_budget(facts)
    figures = [_change(facts, total)]
    if own is None:
        return [
            *figures,
            Figure(id="month", label=month, value="not yet", note="No day of this month is closed."),
        ]
    is_over = own.days_left == 0
    run_days = words.counted(own.days_left, "day")
    figures.insert(
        0,
        Figure(
            id="month",
            label=month if is_over else f"{month} to date",
            value=words.money(own.month_to_date, facts.currency),
            exact=words.exact(own.month_to_date),
            note=f"up to {words.day(_last_told(own))}{_missing(own)}",
        ),
    )
    if not is_over:
        figures.insert(
            1,
            Figure(
                id="forecast",
                label=f"Forecast for {month}",
                value=words.money(own.forecast, facts.currency),
                exact=words.exact(own.forecast),
                note=f"{_band(own, facts.currency)} {run_days} to come{_error(own)}",
            ),
        )
    figures.insert(-1, _budget(own, facts.currency))
    return figures


def organization_budget(facts: Facts) -> Budget | None:
    """The organization's own row."""
    return next((one for one in facts.budgets if one.scope == "organization"), None)


def status_words(status: str) -> tuple[str, Mood]:
    """How a status is told, and how it bodes."""
    return _STATUS.get(status, (status.replace("_", " "), "plain"))


def trust(facts: Facts) -> list[Trust]:
    """Freshness, what may still change, and whether usage explains the bill."""
    return [_freshness(facts), _provisional(facts), _reconciliation(facts)]


def _last_told(budget: Budget) -> date:
    month_end = (budget.as_of.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return min(budget.as_of, month_end)


def _missing(budget: Budget) -> str:
    return f"; {words.counted(budget.days_missing, 'day')} not known" if budget.days_missing else ""


def _band(budget: Budget, currency: str) -> str:
    if budget.low is None or budget.high is None:
        return "No range yet: fewer than four weeks to learn from."
    return f"{words.money(budget.low, currency)} to {words.money(budget.high, currency)},"


def _error(budget: Budget) -> str:
    if budget.backtest_error is None:
        return "."
    return f"; off by {words.percent(budget.backtest_error)} on average when tried on past weeks."


def _budget(own: Budget, currency: str) -> Figure:
    text, mood = status_words(own.status)
    if own.budget is None:
        return Figure(id="budget", label="Budget", value="none", note="Set one in budgets.csv.", mood=mood)
    used = f"{words.percent(own.share_used)} used" if own.share_used is not None else "nothing planned"
    left = own.budget - own.month_to_date
    rest = f"{words.money(left, currency)} left" if left >= 0 else f"{words.money(-left, currency)} over"
    return Figure(
        id="budget",
        label="Budget",
        value=words.money(own.budget, currency),
        exact=words.exact(own.budget),
        note=f"{used}, {rest}.",
        mood=mood,
        pill=text,
    )


def _change(facts: Facts, total: Decimal) -> Figure:
    told = words.days(facts.period.first, facts.period.last)
    value = words.money(total, facts.currency)
    found = facts.explanations.get("project")
    if found is None:
        return Figure(
            id="period", label=told, value=value, exact=words.exact(total), note="No earlier days to compare with."
        )
    change = found.told.total
    before = words.days(facts.period.before.start.date(), facts.period.before.end.date() - timedelta(days=1))
    daily = " a day" if found.is_per_day else ""
    pill = None if change.before <= 0 else f"{words.percent(change.change / change.before, sign=True)}"
    return Figure(
        id="period",
        label=told,
        value=value,
        exact=words.exact(total),
        pill=pill,
        note=f"{words.change(change.change, facts.currency)}{daily} against {before}.",
    )


def _freshness(facts: Facts) -> Trust:
    if facts.synced is None:
        return Trust(label="Freshness", value="never read", note="Run usage-pipeline sync.", mood="bad")
    now = facts.now.replace(tzinfo=None)
    is_fresh = now - facts.synced <= FRESH
    note = f"bills read {facts.synced:%Y-%m-%d %H:%M} UTC; complete up to {words.day(facts.as_of)}"
    return Trust(label="Freshness", value=words.ago(facts.synced, now), note=note, mood="good" if is_fresh else "watch")


def _provisional(facts: Facts) -> Trust:
    money = {name for name, endpoint in ENDPOINTS.items() if endpoint.is_money}
    settled = {day for endpoint, day, _, _, is_settled, _ in facts.coverage if endpoint in money and is_settled}
    amounts = [(abs(amount), day in settled) for day, _, amount in facts.by_project]
    total = sum((amount for amount, _ in amounts), Decimal(0))
    if not total:
        return Trust(label="Provisional", value="nothing", note="was billed in these days", mood="plain")
    share = sum((amount for amount, is_settled in amounts if not is_settled), Decimal(0)) / total
    return Trust(
        label="Provisional",
        value=words.percent(share),
        note="of the cost is of days whose bill may still be corrected",
        mood="good" if share <= _MUCH_PROVISIONAL else "watch",
    )


def _reconciliation(facts: Facts) -> Trust:
    billed, comparable, _, explained = facts.reconciliation
    if not comparable:
        return Trust(label="Reconciliation", value="nothing", note="billed can be compared with usage", mood="plain")
    share = explained / comparable
    note = (
        f"of what can be compared ({words.money(comparable, facts.currency)} of {words.money(billed, facts.currency)})"
    )
    return Trust(
        label="Reconciliation",
        value=f"{words.percent(share)} explained",
        note=f"{note} is explained by usage at list prices",
        mood="good" if share >= _WELL_EXPLAINED else "watch",
    )
