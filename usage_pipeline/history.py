"""What the present lake still knows of its past, for a replay to repeat it: which reads were accepted, and when days
were only checked.

Put questions of replay to the old lake here; each answers also where the lake is damaged, with what can be told.
"""

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.errors import LakeDamaged, UsagePipelineError
from usage_pipeline.lake.dims import LISTED, Dim, read_dim
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.landing import Landed
from usage_pipeline.lake.ledger import AcceptedRead, CoverageLog, accepted_reads, recover
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.snapshot import coverage_of
from usage_pipeline.lake.store import Lake
from usage_pipeline.windows import day_runs

_SHOWN = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class History:
    """The accepted reads, and the log rows of those that found nothing new. Empty where the log cannot be read."""

    accepted: dict[tuple[str, str], list[AcceptedRead]]
    commits: dict[tuple[str, str, str, datetime], str]
    unchanged: pa.Table

    @classmethod
    def of(cls, lake: Lake, *, distrusted: Collection[str] = ()) -> Self:
        """The history of a lake; what the logs of the `distrusted` endpoints' tables say does not count."""
        try:
            with files_explained("the coverage log"):
                # One that cannot be opened takes with it the notes of its commits, not the log of all the others.
                trusted = [table for name, table in lake.usage_tables().items() if name not in distrusted]
                tables = [table.open_or_none() for table in trusted]
                log = CoverageLog(lake)
                recover(log, [table for table in tables if table is not None])
                return cls._of_reads(accepted_reads(log.rows()), _unchanged(log.rows()))
        except UsagePipelineError as damage:
            _log.warning("%s Going on without it: raw decides alone.", damage)
            return cls._of_reads([], SYNC_LOG.empty_table())

    @classmethod
    def _of_reads(cls, reads: list[AcceptedRead], unchanged: pa.Table) -> Self:
        accepted: dict[tuple[str, str], list[AcceptedRead]] = defaultdict(list)
        for read in reads:
            accepted[read.organization, read.endpoint].append(read)
        commits = {
            (read.organization, read.endpoint, read.sync_id, read.window.start): read.commit_id
            for read in reads
            if read.outcome == "replaced"
        }
        return cls(accepted, commits, unchanged)

    def commit_id(self, landed: Landed) -> str | None:
        """The id the landed read was committed under; None where the log does not have it."""
        return self.commits.get((landed.organization, landed.endpoint, landed.sync_id, landed.window.start))

    def supersedes(self, landed: Landed) -> bool:
        """Whether the landed read never reached the lake (its writer was killed) and a later one covers its window.

        Without a later read it counts: after a power loss raw knows more than the lake.
        """
        if self.commit_id(landed) is not None:
            return False
        return any(
            read.fetched_at > landed.fetched_at
            and read.window.start < landed.window.end
            and read.window.end > landed.window.start
            for read in self.accepted.get((landed.organization, landed.endpoint), ())
        )


def _unchanged(log: pa.Table) -> pa.Table:
    return log.filter(pc.equal(log["outcome"], "unchanged"))


def refuse_to_forget(lake: Lake, rebuilt: Lake) -> None:
    """Compare the days and the names both lakes know.

    Raises:
        LakeDamaged: the present lake knows what the rebuilt one does not: raw files are missing.
    """
    for dim in LISTED:
        _refuse_to_forget_names(lake, rebuilt, dim)
    try:
        with files_explained("the coverage log"):
            before = _known_days(lake)
    except UsagePipelineError:
        return  # what cannot be read cannot be compared
    lost = before - _known_days(rebuilt)
    if not lost:
        return
    by_endpoint: dict[str, list[date]] = {}
    for _, endpoint, day in sorted(lost):
        by_endpoint.setdefault(endpoint, []).append(day)
    named = [f"{name} {', '.join(map(str, day_runs(days)[:_SHOWN]))}" for name, days in by_endpoint.items()]
    raise LakeDamaged(
        f"the raw archive no longer vouches for days the lake holds ({'; '.join(named[:_SHOWN])}): raw files are "
        "missing. Restore them from a backup, or keep the lake as it is; `replay --may-forget` drops these days."
    )


def _refuse_to_forget_names(lake: Lake, rebuilt: Lake, dim: Dim) -> None:
    try:
        with files_explained(f"dims.{dim.name}"):
            before = _known_ids(lake, dim)
    except UsagePipelineError:
        return
    if lost := before - _known_ids(rebuilt, dim):
        raise LakeDamaged(
            f"the raw archive no longer vouches for {len(lost)} names in dims.{dim.name}: raw files are missing. "
            "Restore them from a backup, or keep the lake as it is; `replay --may-forget` drops these names."
        )


def _known_ids(lake: Lake, dim: Dim) -> set[tuple[str, str]]:
    return {(row["organization"], row["id"]) for row in read_dim(lake, dim).to_pylist()}


def _known_days(lake: Lake) -> set[tuple[str, str, date]]:
    covered = coverage_of(CoverageLog(lake).rows()).to_pylist()
    return {(row["organization"], row["endpoint"], row["date"]) for row in covered}
