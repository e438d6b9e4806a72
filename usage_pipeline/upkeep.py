"""Upkeep of a warehouse that grows daily: small files joined, superseded ones removed. What it says stays as it was.

Put what is needed now and then, and not by each sync, here. Repairing is doctor.py's; what killed runs left is removed
by each publishing (lake/leftovers.py).
"""

from dataclasses import dataclass

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.compaction import checkpoint, compact, superseded
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.locks import REBUILD_LOCK, WAREHOUSE_LOCK, exclusive
from usage_pipeline.lake.remake import remove_files
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.tables import pin_marts
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import Refresh, refresh


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """What was done: how many files fewer the tables are read from, and what was removed from the disk."""

    joined: int
    removed: int
    freed_bytes: int
    refreshed: Refresh


def maintain(settings: Settings, tell: Tell = tell_nobody) -> Upkeep:
    """Join small files, publish what they became, and remove files superseded longer than `compaction.KEPT_DAYS` ago.

    Whoever opened the published file within that time goes on reading. The raw archive, the tables' logs and the
    coverage log, whose old files are its insurance, keep everything.

    Raises:
        LakeDamaged: something is not what was written: an old file may be needed to mend it. Nothing was changed.
        WarehouseBusy: a replay or a doctor is running, or a sync holds the warehouse.
        LakeUnwritable: the disk or a folder refused; what was joined is joined.
    """
    lake = Lake.of(settings)
    with files_explained("upkeep"), exclusive(settings.data_dir / REBUILD_LOCK, deadline_seconds=0):
        tell("comparing files", 0, 0)
        findings = verify(settings, is_quick=True).findings
        if findings:
            raise LakeDamaged(
                f"{len(findings)} files are not what was written, and an old one may help to mend them: run "
                "`usage-pipeline doctor` first. Nothing was changed."
            )
        tables = _tables(lake)
        with exclusive(settings.data_dir / WAREHOUSE_LOCK):
            joined = 0
            for done, table in enumerate(tables):
                tell("joining files", done, len(tables))
                joined += compact(table)
            for table in (*tables, lake.sync_log):
                checkpoint(table)
        refreshed = refresh(settings, tell)
        with exclusive(settings.data_dir / WAREHOUSE_LOCK):
            files = [table.path / name for table in tables for name in superseded(table)]
            sizes = {file: file.stat().st_size for file in files if file.exists()}  # the log names those gone, too
            places = {str(file.relative_to(settings.data_dir)) for file in sizes}
            if lake.mirror is not None:
                lake.mirror.remove(files)
            remove_files(settings.data_dir, places)
    return Upkeep(joined=joined, removed=len(sizes), freed_bytes=sum(sizes.values()), refreshed=refreshed)


def _tables(lake: Lake) -> list[LakeTable]:
    """Every table but the coverage log."""
    usage = lake.usage_tables().values()
    marts = (pinned.table for pinned in pin_marts(lake).values())
    dims = (lake.table("dims", name, dim.schema) for name, dim in DIMS.items())
    return [*usage, *dims, *marts, lake.restatements, lake.mart_log]
