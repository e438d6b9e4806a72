"""Questions that checks and reports ask of the lake: what is restated, negative, or billed without being used.

Put read-only questions over the newest version of usage and meta tables here; judging the answers is the asker's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.engine import identifier, session
from usage_pipeline.lake.ledger import SYNC_LOG_ONCE
from usage_pipeline.lake.schemas import storage_parts
from usage_pipeline.lake.store import Lake
from usage_pipeline.windows import Window

_RESTATED = """
select date, count(*) from ({scan})
where organization = $organization and sync_id = $sync_id and endpoint = $endpoint and not was_provisional
group by date
"""
_COVERED_BY_ALL = """
select date
from (select organization, endpoint, unnest(days, recursive := true) from ({log}))
where organization = $organization
group by date
having count(distinct endpoint) = $endpoints
"""
_UNMATCHED = """
with covered as ({covered}),
billed as (
    select date, project_id from ({costs}) semi join covered using (date)
    where organization = $organization and date >= $first and date < $end
    group by date, project_id having sum(amount) > 0
),
used as (
    select distinct date, project_id from ({usage}) semi join covered using (date)
    where organization = $organization and date >= $first and date < $end
)
select 'billed' as side, date, project_id from billed l where not exists (select 1 from used r where {same})
union all
select 'used' as side, date, project_id from used l where not exists (select 1 from billed r where {same})
order by all
"""
# A side without a project speaks for all projects of its day.
_SAME = "l.date = r.date and (l.project_id = r.project_id or l.project_id is null or r.project_id is null)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmatched:
    """Days and projects that costs and usage do not both know."""

    billed_without_usage: tuple[tuple[date, str | None], ...]
    used_without_bill: tuple[tuple[date, str | None], ...]


def restated_rows(lake: Lake, organization: str, endpoint: Endpoint, sync_id: str) -> dict[date, int]:
    """How many rows of closed buckets a sync changed, by day."""
    scan = lake.restatements.scan(lake.restatements.open())
    values = {"organization": organization, "sync_id": sync_id, "endpoint": endpoint.name}
    return dict(_ask(_RESTATED.format(scan=scan), values))


def negative_measures(lake: Lake, organization: str, endpoint: Endpoint, window: Window) -> dict[date, list[str]]:
    """The measures below zero by day. Money is left out: a negative amount is a credit."""
    names = [measure.name for measure in endpoint.measures if measure.kind != "money"]
    found = ", ".join(f"bool_or({identifier(name)} < 0)" for name in names)
    rows = _ask(
        f"select date, {found} from ({_window_scan(lake, organization, endpoint, window)}) "  # noqa: S608 - own names
        "where organization = $organization and date >= $first and date < $end group by date order by date",
        _bounds(organization, window),
    )
    by_day = {day: [name for name, is_low in zip(names, flags, strict=True) if is_low] for day, *flags in rows}
    return {day: low for day, low in by_day.items() if low}


def unmatched_costs(lake: Lake, organization: str, window: Window) -> Unmatched:
    """Days and projects billed without any usage, and the reverse, where every endpoint's day is known."""
    money = [endpoint for endpoint in ENDPOINTS.values() if endpoint.is_money]
    usage = [endpoint for endpoint in ENDPOINTS.values() if not endpoint.is_money]
    log = SYNC_LOG_ONCE.format(scan=lake.sync_log.scan(lake.sync_log.open()))
    statement = _UNMATCHED.format(
        covered=_COVERED_BY_ALL.format(log=log),
        costs=" union all by name ".join(_window_scan(lake, organization, endpoint, window) for endpoint in money),
        usage=" union all ".join(_used(lake, organization, endpoint, window) for endpoint in usage),
        same=_SAME,
    )
    rows = _ask(statement, {**_bounds(organization, window), "endpoints": len(ENDPOINTS)})
    return Unmatched(
        billed_without_usage=tuple((day, project) for side, day, project in rows if side == "billed"),
        used_without_bill=tuple((day, project) for side, day, project in rows if side == "used"),
    )


def _used(lake: Lake, organization: str, endpoint: Endpoint, window: Window) -> str:
    """Who used an endpoint at all."""
    positive = " or ".join(f"{identifier(measure.name)} > 0" for measure in endpoint.measures)
    scan = _window_scan(lake, organization, endpoint, window)
    return f"select organization, date, project_id from ({scan}) where {positive}"  # noqa: S608 - own names


def _window_scan(lake: Lake, organization: str, endpoint: Endpoint, window: Window) -> str:
    """The rows of the storage partitions the window touches: more than its days, so the days are still to be chosen."""
    table = lake.usage(endpoint)
    return table.scan(table.open(), {(organization, part) for part in storage_parts(window.dates())})


def _bounds(organization: str, window: Window) -> dict[str, Any]:
    return {"organization": organization, "first": window.start.date(), "end": window.end.date()}


def _ask(statement: str, parameters: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    with session() as con:
        return con.execute(statement, parameters).fetchall()
