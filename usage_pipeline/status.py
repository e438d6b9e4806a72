"""How far each endpoint has come: what is known, since when, until when, and what is missing.

Put the computation behind `usage-pipeline status` here; printing it is the command's.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import ask_log
from usage_pipeline.lake.settling import Settling, lookback_days, observed_settling
from usage_pipeline.lake.snapshot import take_snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_runs

_LAST_SYNCS = "select organization, endpoint, max(fetched_at) as fetched_at from coverage_log group by all"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointStatus:
    """One endpoint of one organization: first known day, watermark, rows, and runs of days missing in between.

    The watermark is the last day of the unbroken run of known days from the first one. `lookback_days` are read again
    by each sync, `settling` is the evidence behind them where closed buckets were seen to change.
    """

    organization: str
    endpoint: str
    first_day: date | None
    watermark: date | None
    last_day: date | None
    days: int
    rows: int
    gaps: tuple[Window, ...]
    last_sync: datetime | None
    lookback_days: int = 0
    settling: Settling | None = None


def endpoint_status(settings: Settings, now: datetime) -> list[EndpointStatus]:
    """Every endpoint's status, in the table's order, for each organization in the lake and each that is configured.

    Where `usage_pipeline.toml` names none, the one of the settings counts only in an empty lake.
    """
    lake = Lake.of(settings)
    with files_explained("status"):
        snapshot = take_snapshot(lake)
    known: dict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    for row in snapshot.coverage().to_pylist():
        known[row["organization"], row["endpoint"]][row["date"]] = row["rows"]
    found = ask_log(snapshot.log, _LAST_SYNCS)
    last = {(row["organization"], row["endpoint"]): row["fetched_at"].replace(tzinfo=UTC) for row in found.to_pylist()}
    settling = observed_settling(lake, snapshot.log, now)
    held = {organization for organization, _ in known}
    organizations = sorted(held | set(settings.labels if settings.is_one_of_several or not held else ()))
    return [
        replace(
            _status(organization, name, known.get((organization, name), {}), last.get((organization, name))),
            lookback_days=lookback_days(settings.lookback_days, settling.get((organization, name))),
            settling=settling.get((organization, name)),
        )
        for organization in organizations
        for name in ENDPOINTS
    ]


def _status(organization: str, endpoint: str, days: dict[date, int], last_sync: datetime | None) -> EndpointStatus:
    if not days:
        return EndpointStatus(
            organization=organization,
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
        organization=organization,
        endpoint=endpoint,
        first_day=min(days),
        watermark=watermark,
        last_day=max(days),
        days=len(days),
        rows=sum(days.values()),
        gaps=gaps,
        last_sync=last_sync,
    )
