"""What a replay keeps of the present lake because raw has lost it: rows of the coverage log, and restatements.

Raw with a file gone gives each day as it is now, where a later file has it, but not how it came to be so. Put what is
kept here; whether raw still gives the days themselves is history.py's.
"""

import logging
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from usage_pipeline.errors import LakeDamaged, UsagePipelineError
from usage_pipeline.lake.contents import stored_rows
from usage_pipeline.lake.damage import altered_files, damaged_entries
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.restated import in_days, recounted
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.seals import Seals, seals_if_readable
from usage_pipeline.lake.snapshot import Pinned, coverage_of
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import EndpointDay, changed_days, lost_reads, missing_reads

_Read = tuple[str, str, str, datetime, datetime]  # organization, endpoint, sync id, begin of window and of reading

_LEDGERS = ("meta.sync_log", "meta.restatements")
_log = logging.getLogger(__name__)


def carry_over(lake: Lake, rebuilt: Lake, *, may_forget: bool) -> None:
    """Give the rebuilt lake the present one's account of the days whose history raw has lost a part of.

    Days that raw gives no more, or only as they were before, stay as rebuilt: their account would not fit them.

    Raises:
        LakeDamaged: raw files are missing, and the account itself is damaged, unless `may_forget`.
    """
    seals = seals_if_readable(lake.root)
    try:
        with files_explained("the coverage log"):
            log = CoverageLog(lake).rows()
            told = _restatements(lake)
            damaged = _first_damage(lake, seals)
    except UsagePipelineError as unreadable:
        damaged = str(unreadable)
    if damaged is not None:
        if not may_forget and _is_raw_missing(lake.root.parent, seals):
            raise LakeDamaged(
                f"raw files are missing, so what they changed is in the lake alone, and that is damaged ({damaged}): "
                "run `usage-pipeline doctor` first. `replay --may-forget` goes on without. Nothing was changed."
            )
        return  # raw is whole, or it does not matter
    data_dir = lake.root.parent
    missing = missing_reads(data_dir, log)
    if not missing:
        return
    rows = log.to_pylist()
    partly = changed_days(log, missing) - {
        (one.read.organization, one.read.endpoint, day)
        for one in lost_reads(data_dir, log, missing.values()).values()
        for day in one.days
    }
    after = CoverageLog(rebuilt).rows()
    made = {_read(row): row for row in after.to_pylist()}
    # Without the lost read, later ones that told the same seem to have changed these days.
    touching = {read for read, row in made.items() if not partly.isdisjoint(_days(row))}
    touching |= {_read(row) for row in rows if row["commit_id"] in missing or not partly.isdisjoint(_days(row))}
    kept = {_read(row): row for row in rows if _read(row) in touching}
    merged = _merged(kept, made, partly)
    if _contents(merged) != _contents(after):
        _log.warning("Raw files are missing, and the log does not tell what they changed: raw decides alone.")
        return
    carried = {row["commit_id"] for row in kept.values()}
    again = {made[read]["commit_id"] for read in kept.keys() & made.keys()}
    changes = [in_days(told, partly, carried, is_in=True), in_days(_restatements(rebuilt), partly, again, is_in=False)]
    rebuilt.restatements.overwrite(pa.concat_tables(changes))
    rebuilt.sync_log.overwrite(recounted(merged, pa.concat_tables(changes), carried))


def _first_damage(lake: Lake, seals: Seals) -> str | None:
    """What is not as it was written of the coverage log and the restatements."""
    places = tuple(f"lake/{part.replace('.', '/')}/" for part in _LEDGERS)
    own = {name: held for name, held in seals.items() if name.startswith(places)}
    found = [*damaged_entries(lake.root, seals, _LEDGERS).values(), *altered_files(lake.root.parent, own)]
    return f"{found[0].path}: {found[0].problem}" if found else None


def _is_raw_missing(data_dir: Path, seals: Seals) -> bool:
    """Whether a raw file of usage that was sealed is gone, known to be lost or not."""
    names = [name for name in seals if name.startswith("raw/") and "/dims." not in name]
    return any(not (data_dir / name).exists() for name in names)


def _read(row: dict[str, Any]) -> _Read:
    """Which read a row of the log is of: a rebuild may find it changed nothing, and give it another commit id."""
    return (row["organization"], row["endpoint"], row["sync_id"], row["window_start"], row["fetched_at"])


def _days(row: dict[str, Any]) -> set[EndpointDay]:
    return {(row["organization"], row["endpoint"], day["date"]) for day in row["days"]}


def _merged(
    kept: dict[_Read, dict[str, Any]], made: dict[_Read, dict[str, Any]], partly: Collection[EndpointDay]
) -> pa.Table:
    """The rebuilt log, in which the kept rows tell of the days in question, and the rebuilt ones of their others."""
    rows: list[dict[str, Any]] = [row for read, row in made.items() if read not in kept]
    for read, row in kept.items():
        place = (row["organization"], row["endpoint"])
        again = made[read]["days"] if read in made else []
        days = [day for day in row["days"] if (*place, day["date"]) in partly]
        days += [day for day in again if (*place, day["date"]) not in partly]
        rows.append({**row, "days": sorted(days, key=lambda day: day["date"])})
    return pa.Table.from_pylist(rows, schema=SYNC_LOG)


def _contents(log: pa.Table) -> set[tuple[Any, ...]]:
    """What a log says each day holds."""
    names = ("organization", "endpoint", "date", "rows", "content_hash")
    return {tuple(row[name] for name in names) for row in coverage_of(log).to_pylist()}


def _restatements(lake: Lake) -> pa.Table:
    return stored_rows(Pinned(lake.restatements, lake.restatements.open()))
