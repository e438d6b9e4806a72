"""How far each endpoint has come: what is known, since when, until when, and what is missing.

Put the computation behind `usage-pipeline status` here; printing it is the command's.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.snapshot import take_snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_runs

_LAST_SYNCS = """
select endpoint, max(fetched_at) as fetched_at from ({log}) where organization = $organization group by endpoint
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointStatus:
    """One endpoint: the first known day, the watermark, rows, and runs of days missing in between.

    The watermark is the last day of the unbroken run of known days from the first one.
    """

    endpoint: str
    first_day: date | None
    watermark: date | None
    last_day: date | None
    days: int
    rows: int
    gaps: tuple[Window, ...]
    last_sync: datetime | None


def endpoint_status(settings: Settings) -> list[EndpointStatus]:
    """The status of every endpoint for the configured organization, in the table's order."""
    snapshot = take_snapshot(Lake(settings.lake_dir))
    known: dict[str, dict[date, int]] = defaultdict(dict)
    for row in snapshot.coverage().to_pylist():
        if row["organization"] == settings.organization:
            known[row["endpoint"]][row["date"]] = row["rows"]
    with session() as con:
        query = _LAST_SYNCS.format(log=snapshot.log_sql())
        found: pa.Table = con.sql(query, params={"organization": settings.organization}).to_arrow_table()
    last = {row["endpoint"]: row["fetched_at"].replace(tzinfo=UTC) for row in found.to_pylist()}
    return [_status(name, known.get(name, {}), last.get(name)) for name in ENDPOINTS]


def _status(endpoint: str, days: dict[date, int], last_sync: datetime | None) -> EndpointStatus:
    if not days:
        return EndpointStatus(
            endpoint=endpoint,
            first_day=None,
            watermark=None,
            last_day=None,
            days=0,
            rows=0,
            gaps=(),
            last_sync=last_sync,
        )
    span = Window.of_days(min(days), max(days) + timedelta(days=1)).dates()
    gaps = tuple(day_runs([day for day in span if day not in days]))
    watermark = gaps[0].start.date() - timedelta(days=1) if gaps else max(days)
    return EndpointStatus(
        endpoint=endpoint,
        first_day=min(days),
        watermark=watermark,
        last_day=max(days),
        days=len(days),
        rows=sum(days.values()),
        gaps=gaps,
        last_sync=last_sync,
    )
