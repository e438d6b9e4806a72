"""Replay: rebuild the lake from the raw archive, without network, to identical content.

Put the rebuilding flow here. It builds beside the lake and then adopts each table in one commit, so that readers of
the published file keep their version until the new one is published.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from usage_pipeline.api.models import parse_page
from usage_pipeline.endpoints import ENDPOINTS, BucketWidth
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.landing import Landed, landed_files, load
from usage_pipeline.lake.locks import REPLAY_LOCK, exclusive
from usage_pipeline.lake.replace import replace_window
from usage_pipeline.lake.store import Lake, LakeTable
from usage_pipeline.lake.tables import normalize
from usage_pipeline.records import Bucket, WindowRead
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import WIDTH_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What a replay did."""

    files: int
    rows: int
    refreshed: Refresh


def replay(settings: Settings, on_file: Callable[[int, int], None] | None = None) -> Replay:
    """Rebuild the usage tables, restatements and coverage from raw, then the marts and the published file.

    `on_file(done, total)` is called after each raw file. Reads that found nothing new were not landed; their
    coverage rows are carried over where the present log can be read.

    Raises:
        LakeDamaged: a raw file is missing bytes or was altered, or there is no raw archive; the lake is unchanged.
        WarehouseBusy: a sync holds the warehouse.
    """
    total = sum(1 for _ in landed_files(settings.raw_dir))
    if not total:
        raise LakeDamaged(f"there is nothing to replay: {settings.raw_dir} holds no raw file; run a sync first.")
    lake = Lake(settings.lake_dir)
    workshop = settings.data_dir / "lake.replay"
    shutil.rmtree(workshop, ignore_errors=True)
    applied: set[Path] = set()
    try:
        rebuilt = Lake(workshop)
        # When days were checked and found unchanged is not in raw, but decides what counts as provisional.
        rebuilt.sync_log.append(_unchanged_reads(lake))
        for path in landed_files(settings.raw_dir):
            _apply(rebuilt, load(path))
            applied.add(path)
            if on_file is not None:
                on_file(len(applied), total)
        with exclusive(settings.data_dir / REPLAY_LOCK):
            # What syncs landed meanwhile; from here on they wait.
            for path in landed_files(settings.raw_dir):
                if path not in applied:
                    _apply(rebuilt, load(path))
                    applied.add(path)
            rows = _adopt(lake, rebuilt)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return Replay(files=len(applied), rows=rows, refreshed=refresh(settings))


def _apply(lake: Lake, landed: Landed) -> None:
    """Bring one landed read into the lake as the sync that landed it did."""
    if landed.endpoint not in ENDPOINTS:
        raise LakeDamaged(
            f"raw file {landed.path} is of endpoint {landed.endpoint!r}, which this version does not know."
        )
    endpoint = ENDPOINTS[landed.endpoint]
    buckets: dict[int, Bucket] = {}
    for page in landed.pages:
        for bucket in parse_page(endpoint, page.body, where=str(landed.path)).buckets:
            buckets[bucket.start_time] = _nominal(bucket, landed.bucket_width)
    in_window = range(landed.window.start_time, landed.window.end_time)
    read = WindowRead(
        endpoint=landed.endpoint,
        window=landed.window,
        bucket_width=landed.bucket_width,
        group_by=landed.group_by,
        fetched_at=landed.fetched_at,
        pages=landed.pages,
        buckets=[buckets[start] for start in sorted(buckets) if start in in_window],
        requests=len(landed.pages),
        notes=landed.notes,
    )
    content = normalize(endpoint, landed.organization, read)
    replace_window(lake, content, landed.sync_id, landed.recorded_at)


def _nominal(bucket: Bucket, width: BucketWidth) -> Bucket:
    """The bucket with its nominal end: an open bucket ends at the moment it was read."""
    return Bucket(
        start_time=bucket.start_time, end_time=bucket.start_time + WIDTH_SECONDS[width], results=bucket.results
    )


def _adopt(lake: Lake, rebuilt: Lake) -> int:
    """Put the rebuilt content into the lake, one commit a table; returns the rows of all usage tables."""
    total = 0
    for name, table in rebuilt.usage_tables().items():
        rows = _content(table)
        total += rows.num_rows
        if rows.num_rows or lake.usage(ENDPOINTS[name]).open() is not None:
            lake.usage(ENDPOINTS[name]).overwrite(rows)
    lake.restatements.overwrite(_content(rebuilt.restatements))
    lake.sync_log.overwrite(_content(rebuilt.sync_log))
    return total


def _content(table: LakeTable) -> pa.Table:
    at = table.open()
    with session() as con:
        rows: pa.Table = con.sql(table.scan(at)).to_arrow_table()
    return rows


def _unchanged_reads(lake: Lake) -> pa.Table:
    """Coverage rows of reads that found nothing new: when a day was last checked is not in raw."""
    at = lake.sync_log.open()
    with session() as con:
        rows: pa.Table = con.sql(
            f"select * from ({lake.sync_log.scan(at)}) where outcome = 'unchanged'"  # noqa: S608 - own file list
        ).to_arrow_table()
    return rows
