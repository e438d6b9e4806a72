"""Whether the service's groups add up to its own totals: what is stored was asked for by group, day by day.

Put the comparison with the ungrouped totals here; it asks the service, which no other check does.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext

import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.ledger import CoverageLog, day_states
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import normalize
from usage_pipeline.marts.findings import Finding
from usage_pipeline.records import WindowRead
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory, make_client
from usage_pipeline.windows import Window

CHECK = "totals"
_COSTS = ENDPOINTS["costs"]
_DAYS = _COSTS.page_limits["1d"].maximum  # what one request answers
_ROUNDING = Decimal("1e-16")  # each stored row is rounded to 20 places: this is 20,000 of them
_LISTED = 5
_STORED = "select date, currency, sum(amount) from ({scan}) where organization = $organization group by all"

Key = tuple[date, str | None]  # a day and a currency
Sums = dict[Key, Decimal]


def total_findings(settings: Settings, now: datetime, client_factory: ClientFactory = make_client) -> list[Finding]:
    """Compare the stored costs of closed days with the service's ungrouped totals, to the last digit that is stored.

    One request; where something differs the groups of those days are read again, to tell groups that do not add up
    from days that the service has changed since they were read. Differences are warnings; nothing is written.

    Raises:
        UsagePipelineError: the service could not be asked, as `sync` has it.
    """
    lake, today = Lake.of(settings), now.date()
    closed = Window.of_days(today - timedelta(days=_DAYS), today)
    days = set(day_states(CoverageLog(lake), settings.organization, _COSTS.name, closed))
    if not days:
        return []
    stored = _stored(lake, settings.organization)
    totals = _read(settings, client_factory, days, is_grouped=False)
    wrong = _differing(totals, stored, days)
    if not wrong:
        return []
    groups = _read(settings, client_factory, {day for day, _ in wrong}, is_grouped=True)
    unequal = [key for key in _differing(totals, groups, days) if key in wrong]
    changed = [key for key in wrong if key not in unequal]
    return [
        *_finding(settings, "the service's groups do not add up to its own total", "groups", unequal, totals, groups),
        *_finding(settings, "the service has changed days since they were read", "stored", changed, totals, stored),
    ]


def _read(settings: Settings, client_factory: ClientFactory, days: set[date], *, is_grouped: bool) -> Sums:
    """What the service says of these days now, in the types it would be stored in."""
    window = Window.of_days(min(days), max(days) + timedelta(days=1))

    async def read() -> list[WindowRead]:
        async with client_factory(settings) as client:
            if is_grouped:
                return await client.read_finest(_COSTS, window, bucket_width="1d")
            whole = await client.read_window(_COSTS, window, bucket_width="1d", group_by=())
            return [] if whole is None else [whole]

    contents = [normalize(_COSTS, settings.organization, one).table for one in asyncio.run(read())]
    return _added(pa.concat_tables(contents)) if contents else {}


def _stored(lake: Lake, organization: str) -> Sums:
    table = lake.usage(_COSTS)
    with session() as con:
        rows = con.execute(_STORED.format(scan=table.scan(table.open())), {"organization": organization}).fetchall()
    return {(day, currency): amount or Decimal(0) for day, currency, amount in rows}


def _added(rows: pa.Table) -> Sums:
    sums: Sums = {}
    columns = (rows[name].to_pylist() for name in ("date", "currency", "amount"))
    with localcontext(prec=60):
        for day, currency, amount in zip(*columns, strict=True):
            sums[day, currency] = sums.get((day, currency), Decimal(0)) + (amount or 0)
    return sums


def _delta(key: Key, one: Sums, other: Sums) -> Decimal:
    """The difference of two sums; no row at all is a sum of zero."""
    with localcontext(prec=60):
        return one.get(key, Decimal(0)) - other.get(key, Decimal(0))


def _differing(totals: Sums, others: Sums, days: set[date]) -> list[Key]:
    keys = sorted((key for key in totals.keys() | others.keys() if key[0] in days), key=str)
    return [key for key in keys if abs(_delta(key, totals, others)) > _ROUNDING]


def _finding(
    settings: Settings, problem: str, name: str, keys: Sequence[Key], totals: Sums, others: Sums
) -> list[Finding]:
    """One warning for all days that are wrong in this way, with the exact difference of the first ones."""
    if not keys:
        return []
    days = sorted({day for day, _ in keys})
    listed = "; ".join(
        f"{day}: {totals.get((day, currency), Decimal(0)):f} {currency} in all, "
        f"{others.get((day, currency), Decimal(0)):f} {name}, delta {_delta((day, currency), totals, others):f}"
        for day, currency in keys[:_LISTED]
    )
    way_out = (
        "What is stored is the groups; ask the service which is right."
        if name == "groups"
        else f"Run `{settings.command('sync')} --endpoint costs --since {days[0]} "
        f"--until {days[-1] + timedelta(days=1)}`."
    )
    more = "; ..." if keys[_LISTED:] else ""
    return [
        Finding(
            check=CHECK,
            is_error=False,
            key=f"totals|{settings.organization}|{name}|{','.join(map(str, days))}",
            message=f"costs: {problem} on {len(days)} days: {listed}{more}. {way_out}",
        )
    ]
