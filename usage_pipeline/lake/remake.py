"""Making a table anew in its folder: built beside it, then its log is exchanged; old data files stay until readers
have the new ones.

Put the exchange and the tidying after it here; which rows a table is made of is salvage.py's and the doctor's.
"""

import dataclasses
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.seals import LOG, added_files, change_seals, forget_seals

_ASIDE = ".damaged-"


def remake(table: LakeTable, rows: pa.Table, workshop: Path, *, has_twin: bool = False) -> None:
    """Make the table hold these rows under a new log; killed in between, it has the old log or none.

    Args:
        table: the table; nothing of its present log or files is read.
        rows: its rows.
        workshop: a folder on the same disk to build in.
        has_twin: write the rows twice, so that one damaged file loses none.
    """
    fresh = dataclasses.replace(table, path=workshop / table.path.parent.name / table.path.name)
    shutil.rmtree(fresh.path, ignore_errors=True)
    for _ in range(2 if has_twin else 1):
        fresh.overwrite(rows)
    for file in sorted(fresh.path.rglob("*.parquet")):
        if LOG not in file.parts:
            target = table.path / file.relative_to(fresh.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    table.path.mkdir(parents=True, exist_ok=True)
    log = table.path / LOG
    if log.exists():
        log.rename(table.path / f"{LOG}{_ASIDE}{time.time_ns()}")
    (fresh.path / LOG).rename(log)
    # Last: until then the seals tell that the log is not there, which of the restatements nothing else does.
    forget_seals(table.path.parent.parent, table.path)


def drop_table(table: LakeTable) -> None:
    """Take away a table that others are made of anew: its log and, once nobody reads them, its files."""
    forget_seals(table.path.parent.parent, table.path)
    if (table.path / LOG).exists():
        (table.path / LOG).rename(table.path / f"{LOG}{_ASIDE}{time.time_ns()}")


def tidy(table: LakeTable) -> None:
    """Remove what `remake` and `drop_table` left in the folder: what its log does not name. Call it once published."""
    kept = {file for entry in (table.path / LOG).glob("*.json") for file in added_files(table.path, entry)}
    for file in sorted(table.path.rglob("*.parquet")):
        if file not in kept and file.parent.name != LOG:
            file.unlink()
    for aside in table.path.glob(f"{LOG}{_ASIDE}*"):
        shutil.rmtree(aside)


def remove_files(data_dir: Path, names: Collection[str]) -> None:
    """Remove files that no reader needs any more; their seals first, so that none is missed where this is killed."""
    change_seals(data_dir / "lake", lambda seals: {name: held for name, held in seals.items() if name not in names})
    for name in names:
        (data_dir / name).unlink(missing_ok=True)
