"""What the present lake still knows of its past, for a replay to repeat it: which reads were accepted, which days each
of them changed, and when days were only checked.

Put questions of replay to the old lake here; each answers also where the lake is damaged, with what can be told.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.errors import LakeDamaged, UsagePipelineError
from usage_pipeline.lake.dims import LISTED, Dim, read_dim
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.landing import Landed
from usage_pipeline.lake.ledger import AcceptedRead, CoverageLog, accepted_files, accepted_reads, recover
from usage_pipeline.lake.replace import FirstRun
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.snapshot import coverage_of
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import lost_reads, missing_reads
from usage_pipeline.windows import day_runs

_Key = tuple[str, str, str, datetime, datetime]  # organization, endpoint, sync id, begin of window and of reading

_SHOWN = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class History:
    """The accepted reads, and the log rows of those that found nothing new. Empty where the log cannot be read."""

    accepted: dict[tuple[str, str], list[AcceptedRead]]
    first_runs: dict[_Key, FirstRun | None]
    """What each read did when it was first stored; None where it found nothing new."""
    unchanged: pa.Table
    missing: pa.Table
    """Reads whose raw file is missing, as if they had found nothing new: they looked at their days all the same."""

    @classmethod
    def of(cls, lake: Lake, *, distrusted: Collection[str] = ()) -> Self:
        """The history of a lake; what the logs of the `distrusted` endpoints' tables say does not count."""
        try:
            with files_explained("the coverage log"):
                # One that cannot be read takes with it the notes of its commits, not the log of all the others.
                trusted = [table for name, table in lake.usage_tables().items() if name not in distrusted]
                tables = [table.open_with_notes() for table in trusted]
                log = CoverageLog(lake)
                recover(log, [table for table in tables if table is not None])
                return cls._of_log(log.rows(), lake.root.parent)
        except UsagePipelineError as damage:
            _log.warning("%s Going on without it: raw decides alone.", damage)
            return cls.empty()

    @classmethod
    def empty(cls) -> Self:
        """The history of a lake that holds nothing."""
        return cls({}, {}, SYNC_LOG.empty_table(), SYNC_LOG.empty_table())

    @classmethod
    def _of_log(cls, log: pa.Table, data_dir: Path) -> Self:
        accepted: dict[tuple[str, str], list[AcceptedRead]] = defaultdict(list)
        reads = accepted_reads(log)
        for read in reads:
            accepted[read.organization, read.endpoint].append(read)
        changes = _changes(log)
        logged = {row["commit_id"]: frozenset(day["date"] for day in row["days"]) for row in changes}
        repeated = _repeated_days(changes, reads, data_dir)
        first_runs = {
            _key(read): FirstRun(
                commit_id=read.commit_id,
                logged=logged.get(read.commit_id, frozenset()),  # none where doctor gave its days up
                repeated=repeated[read.organization, read.endpoint],
            )
            if read.outcome == "replaced"
            else None
            for read in reads
        }
        return cls(accepted, first_runs, log.filter(pc.equal(log["outcome"], "unchanged")), _missing(log, data_dir))

    def has(self, landed: Landed) -> bool:
        """Whether the landed read reached the lake."""
        return _key(landed) in self.first_runs

    def first_run(self, landed: Landed) -> FirstRun | None:
        """What the landed read did when it was first stored; None where the log does not have it."""
        return self.first_runs.get(_key(landed))

    def leaves_out(self, landed: Landed) -> bool:
        """Whether the landed read is not to be stored again: it found nothing new, or it never reached the lake (its
        writer was killed) and a later one covers its window.

        Without a later read it counts: after a power loss raw knows more than the lake.
        """
        if self.has(landed):
            return self.first_run(landed) is None
        return any(read.supersedes(landed) for read in self.accepted.get((landed.organization, landed.endpoint), ()))


def _key(read: AcceptedRead | Landed) -> _Key:
    # When it began, too: a step of Dagster's that is tried again reads once more under the id of its run.
    return (read.organization, read.endpoint, read.sync_id, read.window.start, read.fetched_at)


def _missing(log: pa.Table, data_dir: Path) -> pa.Table:
    """The log rows of reads that raw has lost, without what they changed."""
    commits = pa.array(sorted(missing_reads(data_dir, log)), pa.string())
    nothing = {"outcome": "unchanged", "inserted": 0, "updated": 0, "deleted": 0, "restated": 0, "days": []}
    rows = [{**row, **nothing} for row in log.filter(pc.is_in(log["commit_id"], commits)).to_pylist()]
    return pa.Table.from_pylist(rows, schema=SYNC_LOG)


def _repeated_days(
    changes: Collection[Mapping[str, Any]], reads: Collection[AcceptedRead], data_dir: Path
) -> Mapping[tuple[str, str], frozenset[date]]:
    """Of each organization and endpoint the days of which raw still has every read that changed them."""
    here = {read.commit_id for read in reads if all((data_dir / name).exists() for name in accepted_files([read]))}
    days: dict[tuple[str, str], dict[date, bool]] = defaultdict(dict)
    for row in changes:
        held = days[row["organization"], row["endpoint"]]
        for day in row["days"]:
            held[day["date"]] = held.get(day["date"], True) and row["commit_id"] in here
    found = {place: frozenset(day for day, is_whole in held.items() if is_whole) for place, held in days.items()}
    return defaultdict(frozenset, found)


def _changes(log: pa.Table) -> list[dict[str, Any]]:
    """The rows of the log that changed days: whose, by which commit, which days."""
    found: list[dict[str, Any]] = (
        log.select(["organization", "endpoint", "commit_id", "days"])
        .filter(pc.greater(pc.list_value_length(log["days"]), 0))
        .to_pylist()
    )
    return found


def refuse_to_forget(lake: Lake, rebuilt: Lake) -> None:
    """Compare the days and the names both lakes know, and the raw files with those the days came from.

    Raises:
        LakeDamaged: the present lake knows what the rebuilt one does not, or newer content: raw files are missing.
    """
    for dim in LISTED:
        _refuse_to_forget_names(lake, rebuilt, dim)
    try:
        with files_explained("the coverage log"):
            log = CoverageLog(lake).rows()
    except UsagePipelineError:
        return  # what cannot be read cannot be compared
    before = _known_days(log)
    lost = before - _known_days(CoverageLog(rebuilt).rows()) | before & _outdated_days(lake.root.parent, log)
    if not lost:
        return
    by_endpoint: dict[str, list[date]] = {}
    for _, endpoint, day in sorted(lost):
        by_endpoint.setdefault(endpoint, []).append(day)
    named = [f"{name} {', '.join(map(str, day_runs(days)[:_SHOWN]))}" for name, days in by_endpoint.items()]
    raise LakeDamaged(
        f"the raw archive no longer vouches for days the lake holds ({'; '.join(named[:_SHOWN])}): raw files are "
        "missing. Restore them from a backup, or keep the lake as it is: `usage-pipeline doctor` mends what is damaged "
        "and asks the service for lost days. `replay --may-forget` drops them, or takes them from older raw files."
    )


def _refuse_to_forget_names(lake: Lake, rebuilt: Lake, dim: Dim) -> None:
    try:
        with files_explained(f"dims.{dim.name}"):
            before = _known_versions(lake, dim)
    except UsagePipelineError:
        return
    if lost := before - _known_versions(rebuilt, dim):
        raise LakeDamaged(
            f"the raw archive no longer vouches for {len(lost)} names, or versions of them, in dims.{dim.name}: raw "
            "files are missing. Restore them from a backup, or keep the lake as it is; `replay --may-forget` drops "
            "these names."
        )


def _known_versions(lake: Lake, dim: Dim) -> set[tuple[Any, ...]]:
    return {tuple(row[name] for name in dim.grain) for row in read_dim(lake, dim).to_pylist()}


def _known_days(log: pa.Table) -> set[tuple[str, str, date]]:
    return {(row["organization"], row["endpoint"], row["date"]) for row in coverage_of(log).to_pylist()}


def _outdated_days(data_dir: Path, log: pa.Table) -> set[tuple[str, str, date]]:
    """Days of which the raw files that are there tell only what they were before."""
    gone = [name for name in accepted_files(accepted_reads(log)) if not (data_dir / name).exists()]
    return {
        (one.read.organization, one.read.endpoint, day)
        for one in lost_reads(data_dir, log, gone).values()
        for day in one.days
    }
