"""Replay: rebuild the lake from the raw archive, without network, to identical content.

Put the rebuilding flow here; what the old lake still knows is history.py's. It builds beside the lake and then adopts
each table in one commit, so that readers of the published file keep their version until the new one is published.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.api.models import parse_page
from usage_pipeline.api.name_models import listed_names
from usage_pipeline.carried import carry_over
from usage_pipeline.endpoints import ENDPOINTS, BucketWidth
from usage_pipeline.errors import FixConfig, LakeDamaged
from usage_pipeline.history import History, refuse_to_forget
from usage_pipeline.lake.compaction import compact
from usage_pipeline.lake.damage import damaged_entries
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.dims import LISTED, read_dim
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.formats import refuse_newer
from usage_pipeline.lake.landing import Landed, LandedNames, landed_files, load
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.links import refuse_links
from usage_pipeline.lake.locks import REBUILD_LOCK, REPLAY_LOCK, exclusive
from usage_pipeline.lake.names import replace_names
from usage_pipeline.lake.replace import FirstRun, replace_window
from usage_pipeline.lake.seals import forget_seals, seals_if_readable
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import normalize
from usage_pipeline.name_lists import LISTS
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.records import Bucket, WindowRead
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import WIDTH_SECONDS

_TIDY_EVERY = 40  # raw files; each step reads what the log has not written yet, and each file of the restatements


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What a replay did: raw files applied, files left out (superseded, or nothing new in them), rows."""

    files: int
    left_out: int
    rows: int
    refreshed: Refresh


def replay(settings: Settings, *, may_forget: bool = False, tell: Tell = tell_nobody) -> Replay:
    """Rebuild the usage tables, restatements, coverage and names from raw, then the marts and the published file.

    Raw files are told one by one, what follows as one. Reads that found nothing new were not landed; their
    coverage rows are carried over from the present log where it can be read.

    Raises:
        LakeDamaged: a raw file is missing bytes or was altered, there is no raw archive, or (unless `may_forget`) the
            lake holds days that raw no longer vouches for; the lake is unchanged.
        LakeUnwritable: the disk or a folder refused.
        WarehouseBusy: another replay is running, or a sync holds the warehouse.
        FixConfig: the lake is at a URL, where syncs of other hosts cannot be held off.
    """
    _refuse_url(settings)
    total = sum(1 for _ in landed_files(settings.raw_dir))
    if not total:
        raise LakeDamaged(f"there is nothing to replay: {settings.raw_dir} holds no raw file; run a sync first.")
    lake = Lake.of(settings)
    workshop = settings.data_dir / "lake.replay"
    with files_explained("replay"), exclusive(settings.data_dir / REBUILD_LOCK, deadline_seconds=0):
        refuse_newer(settings.lake_dir)
        refuse_links(settings.data_dir)
        shutil.rmtree(workshop, ignore_errors=True)
        try:
            growing = _Rebuild(Lake(workshop), History.of(lake))
            for path in landed_files(settings.raw_dir):
                growing.apply(path)
                tell("replaying raw files", len(growing.seen), total)
            tell("putting the tables in place", 0, 0)
            with exclusive(settings.data_dir / REPLAY_LOCK):
                # What syncs landed meanwhile; from here on they wait.
                growing.history = History.of(lake)
                for path in landed_files(settings.raw_dir):
                    growing.apply(path)
                growing.finish()
                if not may_forget:
                    refuse_to_forget(lake, growing.lake)
                carry_over(lake, growing.lake, may_forget=may_forget)
                rows = _adopt(lake, growing.lake)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    return Replay(
        files=len(growing.seen) - growing.left_out,
        left_out=growing.left_out,
        rows=rows,
        refreshed=refresh(settings, tell),
    )


def _refuse_url(settings: Settings) -> None:
    if settings.lake_url is not None:
        raise FixConfig(
            f"replay rewrites every table, and other hosts that write to {settings.lake_url} cannot be held off: end "
            "their syncs, copy raw/ and lake/ from there into an empty data folder, run it there without "
            "USAGE_PIPELINE_LAKE_URL, put both to a new prefix and set the variable to that. Nothing was changed."
        )


def apply_late(lake: Lake, path: Path) -> None:
    """Bring a landed read that never reached the lake into it, as if its sync had gone on.

    Where it had, and was killed before it logged that, the commit's own account is logged and nothing else is done.
    """
    landed = load(path)
    if isinstance(landed, Landed) and not History.of(lake).has(landed):
        log = CoverageLog(lake)
        _apply_window(log, landed, None)
        log.flush()


def rebuild(lake: Lake, history: History, files: Iterable[Path]) -> None:
    """Fill an empty lake with what these raw files, in the order they were landed, say.

    Raises:
        LakeDamaged: a file is not what was written.
    """
    growing = _Rebuild(lake, history)
    for path in files:
        growing.apply(path)
    growing.finish()


class _Rebuild:
    """The new lake while it grows, and which raw files it has seen."""

    def __init__(self, lake: Lake, history: History) -> None:
        self.lake = lake
        self.log = CoverageLog(lake)
        self.history = history
        self.seen: set[Path] = set()
        self.left_out = 0
        # When days were checked and found unchanged is not in raw, but decides what counts as provisional.
        if history.unchanged.num_rows:
            lake.sync_log.append(history.unchanged)
        self.missing = history.missing
        if self.missing.num_rows:
            lake.sync_log.append(self.missing)

    def apply(self, path: Path) -> None:
        """Bring a landed read in as the sync that landed it did, once; leave out what never reached the lake."""
        if path in self.seen:
            return
        self.seen.add(path)
        landed = load(path)
        if isinstance(landed, LandedNames):
            _apply_names(self.lake, landed)
        elif self.history.leaves_out(landed):
            self.left_out += 1
        else:
            _apply_window(self.log, landed, self.history.first_run(landed))
        if len(self.seen) % _TIDY_EVERY == 0:
            self.log.flush()
            compact(self.lake.restatements)

    def finish(self) -> None:
        """Write the log, without the reads that raw has lost: which of them are kept, and as what, is carried.py's."""
        self.log.flush()
        if self.missing.num_rows:
            rows = self.log.rows()
            again = pc.is_in(rows["commit_id"], self.missing["commit_id"].combine_chunks())
            self.lake.sync_log.overwrite(rows.filter(pc.invert(again)))


def _apply_names(lake: Lake, landed: LandedNames) -> None:
    if landed.list_name not in LISTS:
        raise LakeDamaged(f"raw file {landed.path} is of list {landed.list_name!r}, which this version does not know.")
    items, _ = listed_names(LISTS[landed.list_name], landed.pages, where=str(landed.path))
    replace_names(lake, landed.list_name, landed.organization, items, landed.fetched_at)


def _apply_window(log: CoverageLog, landed: Landed, first_run: FirstRun | None) -> None:
    """One landed read, decoded and put into the lake."""
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
    replace_window(log, content, landed.sync_id, landed.recorded_at, first_run=first_run)


def _nominal(bucket: Bucket, width: BucketWidth) -> Bucket:
    """The bucket with its nominal end: an open bucket ends at the moment it was read."""
    return Bucket(
        start_time=bucket.start_time, end_time=bucket.start_time + WIDTH_SECONDS[width], results=bucket.results
    )


def _adopt(lake: Lake, rebuilt: Lake) -> int:
    """Put the rebuilt content into the lake, one commit a table; returns the rows of all usage tables.

    Commit ids are those of the first run wherever the log was readable, so that ledgers of before and after agree if a
    crash comes in between; the next replay finishes it.
    """
    aside = [lake.at(part) for part in damaged_entries(lake.root, seals_if_readable(lake.root))]
    for damaged in aside:
        damaged.put_aside()
    total = 0
    for name, table in rebuilt.usage_tables().items():
        rows = content_of(table)
        total += rows.num_rows
        if rows.num_rows or lake.usage(ENDPOINTS[name]).path.exists():
            lake.usage(ENDPOINTS[name]).renew(rows)
    for dim in LISTED:
        names, held = read_dim(rebuilt, dim), lake.table("dims", dim.name, dim.schema)
        if names.num_rows or held.path.exists():
            held.renew(names)
    lake.restatements.renew(content_of(rebuilt.restatements))
    for _ in range(2):  # a twin in the folder: when days were only checked is nowhere else, should one file be damaged
        lake.sync_log.renew(content_of(rebuilt.sync_log))
    lake.mart_log.renew(lake.mart_log.schema.empty_table())  # marts are made of the tables above: all anew
    for damaged in aside:
        forget_seals(lake.root, damaged.path)
    return total


def content_of(table: LakeTable) -> pa.Table:
    """Every row of a table's newest version."""
    at = table.open()
    with session() as con:
        rows: pa.Table = con.sql(table.scan(at)).to_arrow_table()
    return rows
