"""The month against its budget, day by day, and the forecast of what is to come.

Put what the burn-down draws and lists here; the forecast, its range and its error are marts.budget_status's.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from usage_pipeline.report import words
from usage_pipeline.report.facts import Budget, Facts
from usage_pipeline.report.figures import Mood, organization_budget, status_words
from usage_pipeline.report.shares import project_name
from usage_pipeline.report.words import money, percent, shown

Path = list[tuple[date, Decimal]]
Ahead = list[tuple[date, Decimal, Decimal, Decimal]]


@dataclass(frozen=True, kw_only=True, slots=True)
class BurnDown:
    """What is left of the budget after each day (of no budget: what is spent), and what is expected, low and high."""

    has_budget: bool
    past: Path
    ahead: Ahead
    said: str

    @property
    def has_band(self) -> bool:
        """Whether there is a range around the forecast."""
        return any(low != high for _, _, low, high in self.ahead)


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetLine:
    """A budget as the table shows it."""

    name: str
    is_deleted: bool
    budget: Decimal | None
    month_to_date: Decimal
    forecast: Decimal
    used: str
    status: str
    mood: Mood


def burn_down(facts: Facts) -> BurnDown | None:
    """The organization's; none where no day of the month is closed."""
    own = organization_budget(facts)
    if own is None or not facts.month_days:
        return None
    start = own.budget if own.budget is not None else Decimal(0)
    sign = -1 if own.budget is not None else 1
    first = facts.period.month
    spent: dict[date, Decimal] = dict(facts.month_days)
    left, past = start, [(first - timedelta(days=1), start)]
    for number in range((facts.period.last - first).days + 1):
        day = first + timedelta(days=number)
        left += sign * spent.get(day, Decimal(0))
        past.append((day, left))
    end = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    ahead: Ahead = []
    if own.days_left and facts.period.last == own.as_of:
        low, high = (own.forecast if one is None else one for one in (own.low, own.high))
        likely, low, high = (start + sign * one for one in (own.forecast, low, high))
        ahead = [(past[-1][0], left, left, left), (end, likely, low, high)]
    return BurnDown(has_budget=own.budget is not None, past=past, ahead=ahead, said=_said(own, facts.currency))


def budget_lines(facts: Facts) -> list[BudgetLine]:
    """The organization's budget and those of projects; projects without one are not listed."""
    return [_line(facts, one) for one in facts.budgets if one.budget is not None]


def _said(own: Budget, currency: str) -> str:
    spent = money(own.month_to_date, currency)
    if not own.days_left:
        said = f"The month is over and cost {spent}"
        if own.budget is None:
            return f"{said}."
        rest = own.budget - own.month_to_date
        held = f"{money(rest, currency)} of it was left" if rest >= 0 else f"{money(-rest, currency)} more than that"
        return f"{said}. The budget was {money(own.budget, currency)}: {held}."
    said = f"{spent} is spent, {words.counted(own.days_left, 'day')} are to come"
    if own.budget is not None:
        rest = own.budget - own.forecast
        goes = f"leaves {money(rest, currency)}" if rest >= 0 else f"goes {money(-rest, currency)} over the budget"
        said += f", and the forecast of {money(own.forecast, currency)} {goes}"
    else:
        said += f", and the forecast is {money(own.forecast, currency)}; no budget is set in budgets.csv"
    if own.backtest_error is None:
        return f"{said}. There is too little history to try the forecast on."
    tried = f"Tried on up to eight past weeks, it was off by {percent(own.backtest_error)} on average"
    if own.low is None or own.high is None:
        return f"{said}. {tried}."
    between = f"{money(own.low, currency)} and {money(own.high, currency)}"
    return f"{said}. {tried}; between {between} in eight of ten such weeks."


def _line(facts: Facts, one: Budget) -> BudgetLine:
    text, mood = status_words(one.status)
    name, is_gone = ("All", False) if one.scope == "organization" else project_name(facts, one.project_id)
    return BudgetLine(
        name=shown(name),
        is_deleted=is_gone,
        budget=one.budget,
        month_to_date=one.month_to_date,
        forecast=one.forecast,
        used=percent(one.share_used) if one.share_used is not None else words.NONE,
        status=text,
        mood=mood,
    )
