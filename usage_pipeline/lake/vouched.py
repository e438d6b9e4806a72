"""Which days of raw files that are known to be lost no other raw file gives, by the coverage log.

Put the question whether raw vouches for a day here; reading such days again is refetch.py's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.lake.landing import load
from usage_pipeline.lake.ledger import AcceptedRead, accepted_files, accepted_reads
from usage_pipeline.lake.seals import LOST, Seals

EndpointDay = tuple[str, str, date]  # with its organization first


@dataclass(frozen=True, slots=True)
class LostRead:
    """A read whose raw file is lost, and the days of its window that raw does not vouch for any more."""

    read: AcceptedRead
    days: list[date]


@dataclass(slots=True)
class _Day:
    """What was recorded of a day, and when it was read into raw files that are there."""

    contents: list[tuple[datetime, str]] = field(default_factory=list)  # in the order the reads began
    kept: list[datetime] = field(default_factory=list)

    @property
    def is_vouched_for(self) -> bool:
        """Whether the newest raw file with the day has the content the day has now.

        A file has all days of its window, also those its read found unchanged; one that is older than a restatement
        would give the day as it was.
        """
        if not self.kept:
            return False
        newest = max(self.kept)
        then = [content for began, content in self.contents if began <= newest]
        return then[-1:] == [content for _, content in self.contents[-1:]]


def lost_names(seals: Seals) -> list[str]:
    """The raw files, by their paths in the data folder, that are gone and known to be."""
    return sorted(name for name, held in seals.items() if held == (LOST,))


def lost_note(name: str) -> str:
    """What to say of a lost raw file."""
    return f"{name} is lost; the lake has what it held, but cannot be rebuilt from raw"


def missing_reads(data_dir: Path, log: pa.Table) -> dict[str, str]:
    """By commit id the raw files that are gone, known to be lost or not, of the reads that changed something."""
    files = {read.commit_id: name for read in accepted_reads(log) for name in accepted_files([read])}
    return {commit_id: name for commit_id, name in files.items() if not (data_dir / name).exists()}


def changed_days(log: pa.Table, commits: Collection[str]) -> set[EndpointDay]:
    """The days that these commits changed."""
    return {
        (row["organization"], row["endpoint"], day["date"])
        for row in log.select(["organization", "endpoint", "commit_id", "days"]).to_pylist()
        if row["commit_id"] in commits
        for day in row["days"]
    }


def lost_reads(data_dir: Path, log: pa.Table, names: Iterable[str]) -> dict[str, LostRead]:
    """The reads of lost raw files by the files' names; those the coverage log does not have are left out.

    Args:
        data_dir: the data folder.
        log: the rows of the coverage log.
        names: the files that are sealed as lost; one that was put back since counts as there.
    """
    wanted = set(names)
    files = {file: read for read in accepted_reads(log) for file in accepted_files([read])}
    lost = {name: files[name] for name in sorted(wanted & files.keys())}
    places = {(read.organization, read.endpoint) for read in lost.values()}
    days: dict[EndpointDay, _Day] = defaultdict(_Day)
    for name, read in files.items():
        if (read.organization, read.endpoint) in places and _is_there(data_dir / name, is_lost=name in wanted):
            for day in read.window.dates():
                days[read.organization, read.endpoint, day].kept.append(read.fetched_at)
    for row in log.filter(pc.greater(pc.list_value_length(log["days"]), 0)).sort_by("fetched_at").to_pylist():
        for day in row["days"]:
            content = (row["fetched_at"].replace(tzinfo=UTC), day["content_hash"])
            days[row["organization"], row["endpoint"], day["date"]].contents.append(content)
    return {
        name: LostRead(
            read,
            [day for day in read.window.dates() if not days[read.organization, read.endpoint, day].is_vouched_for],
        )
        for name, read in lost.items()
    }


def _is_there(path: Path, *, is_lost: bool) -> bool:
    """Whether a raw file can be replayed; of one that was lost nobody compares the seal, so it is read."""
    if not path.exists():
        return False
    try:
        return not is_lost or bool(load(path).pages)
    except UsagePipelineError:
        return False
