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
from usage_pipeline.marts.build import pin_mart
from usage_pipeline.marts.derived_lines import LINE_ITEM
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
_COMPARED = """
select
    date, project_id, currency,
    coalesce(sum(billed), 0) as billed, coalesce(sum(estimated), 0) as estimated,
    coalesce(sum(explained), 0) as explained, bool_or(has_unpriced) as has_unpriced
from ({reconciled}) where {mine} group by all order by all
"""


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
    """A day of a project whose priced usage and bill are further apart than tolerated."""

    date: date
    project_id: str | None
    currency: str | None
    billed: Decimal
    estimated: Decimal
    explained: Decimal
    has_unpriced: bool

    @property
    def delta(self) -> Decimal:
        """Billed beyond the estimate."""
        with localcontext(prec=60):
            return self.billed - self.estimated


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
    """Days and projects of the window whose estimate is off the bill by more than this share of the bill."""
    reconciled = _scan(lake, "reconciliation_daily", organization, window)
    rows = _ask(_COMPARED.format(reconciled=reconciled, mine=_MINE), organization, window)
    names = ("date", "project_id", "currency", "billed", "estimated", "explained", "has_unpriced")
    compared = [Unreconciled(**dict(zip(names, row, strict=True))) for row in rows]
    with localcontext(prec=60):
        return tuple(one for one in compared if abs(one.delta) > tolerance * abs(one.billed))


def _scan(lake: Lake, name: str, organization: str, window: Window) -> str:
    return pin_mart(lake, name).scan(_parts(organization, window))


def _parts(organization: str, window: Window) -> set[tuple[str, str]]:
    """The storage partitions the window touches: more than its days, so the days are still to be chosen."""
    return {(organization, part) for part in storage_parts(window.dates())}


def _ask(statement: str, organization: str, window: Window) -> Sequence[tuple[Any, ...]]:
    bounds = {"organization": organization, "first": window.start.date(), "end": window.end.date()}
    with session() as con:
        return con.execute(statement, bounds).fetchall()
