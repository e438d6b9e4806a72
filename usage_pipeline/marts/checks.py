"""Questions about money that checks ask: is every billed row spread to the last digit, and does usage explain the bill.

Put read-only questions over the newest versions of costs and the marts here; judging the answers is the asker's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from typing import Any

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.schemas import storage_parts
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.derived_lines import LINE_ITEM
from usage_pipeline.marts.tables import pin_mart
from usage_pipeline.windows import Window

_MINE = "organization = $organization and date >= $first and date < $end"
_SUMS_DIFFER = """
with billed as (
    select date, project_id, {line_item} as line_item, currency, sum(amount) as billed
    from ({costs}) where {mine} and amount is not null group by all
),
spread as (
    select date, project_id, line_item, currency, sum(amount) as allocated
    from ({allocated}) where {mine} group by all
)
select
    coalesce(b.date, s.date) as date, coalesce(b.project_id, s.project_id) as project_id,
    coalesce(b.line_item, s.line_item) as line_item, coalesce(b.currency, s.currency) as currency,
    billed, allocated
from billed b
full join spread s
    on b.date = s.date and b.project_id is not distinct from s.project_id
    and b.line_item is not distinct from s.line_item and b.currency is not distinct from s.currency
where billed is distinct from allocated
order by all
"""
# A family without a price on any day is not comparable on a day without usage either.
_JUDGED = """
with judged as (
    select
        *,
        is_comparable
            and not (count(estimated) over one_family = 0 and bool_or(has_unpriced) over one_family) as is_judged
    from ({reconciled}) where {mine}
    window one_family as (partition by model_family)
)
"""
_COMPARED = """
select date, project_id, model_family, currency, coalesce(billed, 0), coalesce(estimated, 0), assumed
from judged where is_judged order by abs(delta) desc, date, project_id, model_family, currency
"""
_NOT_COMPARABLE = """
select model_family, currency, sum(billed) as amount
from judged where not is_judged and billed <> 0 group by all order by abs(amount) desc, model_family, currency
"""
_FLOOR = Decimal("0.01")  # of the currency: less is not worth looking at, however much of a small bill it is
UNSETTLED_DAYS = 3  # bills lag usage by hours: today and the two days before are not compared


@dataclass(frozen=True, kw_only=True, slots=True)
class UnallocatedDifference:
    """A day's billing line whose parts do not add up to it; a side that is not there is None."""

    date: date
    project_id: str | None
    line_item: str | None
    currency: str | None
    billed: Decimal | None
    allocated: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreconciled:
    """A model family's day in a project whose priced usage and bill are further apart than tolerated."""

    date: date
    project_id: str | None
    model_family: str | None
    currency: str | None
    billed: Decimal
    estimated: Decimal
    assumed: Decimal

    @property
    def delta(self) -> Decimal:
        """Billed beyond the estimate."""
        with localcontext(prec=60):
            return self.billed - self.estimated

    def is_beyond(self, tolerance: Decimal) -> bool:
        """Whether bill and estimate differ by more than a share of the bill, a cent, and what is assumed of prices."""
        with localcontext(prec=60):
            return abs(self.delta) - self.assumed > max(tolerance * abs(self.billed), _FLOOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotComparable:
    """What was billed for a model family (a tool; None: credits, fees, trainings) without an estimate beside it."""

    model_family: str | None
    currency: str | None
    amount: Decimal


def unallocated_difference(lake: Lake, organization: str, window: Window) -> tuple[UnallocatedDifference, ...]:
    """Billing lines of the window that `marts.cost_allocated` does not add up to, to the last digit; none is right."""
    costs = " union all by name ".join(
        lake.usage(row).scan(lake.usage(row).open(), _parts(organization, window))
        for row in ENDPOINTS.values()
        if row.is_money
    )
    allocated = _scan(lake, "cost_allocated", organization, window)
    statement = _SUMS_DIFFER.format(line_item=LINE_ITEM, costs=costs, allocated=allocated, mine=_MINE)
    rows = _ask(statement, organization, window)
    names = ("date", "project_id", "line_item", "currency", "billed", "allocated")
    return tuple(UnallocatedDifference(**dict(zip(names, row, strict=True))) for row in rows)


def unreconciled(lake: Lake, organization: str, window: Window, tolerance: Decimal) -> tuple[Unreconciled, ...]:
    """Days of model families whose estimate is off the bill by more than this share of the bill, the worst first."""
    names = ("date", "project_id", "model_family", "currency", "billed", "estimated", "assumed")
    rows = _ask_judged(_COMPARED, lake, organization, window)
    compared = (Unreconciled(**dict(zip(names, row, strict=True))) for row in rows)
    return tuple(one for one in compared if one.is_beyond(tolerance))


def not_comparable(lake: Lake, organization: str, window: Window) -> tuple[NotComparable, ...]:
    """What of the window's bill has no estimate to be compared with, largest first."""
    rows = _ask_judged(_NOT_COMPARABLE, lake, organization, window)
    return tuple(
        NotComparable(model_family=family, currency=currency, amount=amount) for family, currency, amount in rows
    )


def _ask_judged(select: str, lake: Lake, organization: str, window: Window) -> Sequence[tuple[Any, ...]]:
    reconciled = _scan(lake, "reconciliation_daily", organization, window)
    return _ask(_JUDGED.format(reconciled=reconciled, mine=_MINE) + select, organization, window)


def _scan(lake: Lake, name: str, organization: str, window: Window) -> str:
    return pin_mart(lake, name).scan(_parts(organization, window))


def _parts(organization: str, window: Window) -> set[tuple[str, str]]:
    """The storage partitions the window touches: more than its days, so the days are still to be chosen."""
    return {(organization, part) for part in storage_parts(window.dates())}


def _ask(statement: str, organization: str, window: Window) -> Sequence[tuple[Any, ...]]:
    bounds = {"organization": organization, "first": window.start.date(), "end": window.end.date()}
    with session() as con:
        return con.execute(statement, bounds).fetchall()
