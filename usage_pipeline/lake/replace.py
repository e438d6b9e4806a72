"""Replacing a window: compare, land, record restatements, commit, log; or change nothing at all.

Put the order of these steps, and what happens when another writer or a crash comes between them, here.
The commit of the endpoint's table is the moment of truth: ledger rows count only once its coverage row is there, and
that row travels inside the commit, so that a killed writer's log entry is completed by the next one.
"""

import hashlib
import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from usage_pipeline.errors import WarehouseBusy
from usage_pipeline.lake.delta_table import CommitConflict, LakeTable
from usage_pipeline.lake.diff import Changes, compare
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import CoverageLog, DayState, day_states, naive, recover, to_note
from usage_pipeline.lake.notes import commit_notes
from usage_pipeline.lake.schemas import storage_parts
from usage_pipeline.lake.shared_raw import land_shared, take_back
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import Content

_ATTEMPTS = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstRun:
    """What a read did when it was first stored, for a replay to repeat.

    Raw alone does not tell it: of two reads under way at once the later begun may have been stored first.

    Args:
        commit_id: of its commit.
        logged: the days it changed.
        repeated: the days for which this counts; the others are decided anew, for raw lost a read that changed them.
    """

    commit_id: str
    logged: frozenset[date]
    repeated: frozenset[date]


@dataclass(frozen=True, slots=True)
class _Decision:
    """Which days to write, which to log, on what version of the table."""

    at: DeltaTable
    states: Mapping[date, DayState]
    to_write: frozenset[date]
    to_log: frozenset[date]

    @property
    def first_read(self) -> frozenset[date]:
        """The days nobody read before."""
        return self.to_log - self.states.keys()


def replace_window(
    log: CoverageLog,
    content: Content,
    sync_id: str,
    recorded_at: datetime,
    land: Callable[[], Path] | None = None,
    *,
    first_run: FirstRun | None = None,
    is_landed_always: bool = False,
) -> dict[str, Any]:
    """Make the lake hold exactly this content in its window, and return the coverage log row that says so.

    The row is added to the log, which the caller flushes when all that it stores together is stored.

    Days whose content hash is the stored one are not written; nor are days that a read begun later has already
    replaced, or found as they are (so backfills and daily runs commute). `land` writes the raw pages, is called only
    when something is new, and not given by replay, which reads them and repeats the `first_run` where it is known. With
    `is_landed_always` every day of the read counts as new to raw, which lost it. Outcome is `replaced` or `unchanged`.

    Raises:
        WarehouseBusy: other writers won every attempt; nothing was changed.
        LakeUnwritable: the disk or folder refused; nothing was changed.
        LakeDamaged: a file of the table is missing or altered; nothing was changed.
    """
    with files_explained(f"{content.endpoint.name} {content.window}"):
        return _replace(log, content, sync_id, recorded_at, land, first_run, is_landed_always)


def _replace(
    log: CoverageLog,
    content: Content,
    sync_id: str,
    recorded_at: datetime,
    land: Callable[[], Path] | None,
    first_run: FirstRun | None,
    is_landed_always: bool,
) -> dict[str, Any]:
    landed: Path | None = None
    tried: set[str] = set()
    lake = log.lake
    table = lake.usage(content.endpoint)
    for attempt in range(_ATTEMPTS):
        as_of = (content.read.fetched_at, recorded_at) if land is None else None
        decision = _decide(log, table, content, first_run, as_of, is_landed_always=is_landed_always)
        if not decision.to_log:
            if not tried & log.commit_ids():  # another writer's newer read made this one needless
                take_back(lake.mirror, landed)
            row = _log_row(content, sync_id, recorded_at, "unchanged", [], Changes.none())
            log.add(row)
            return row
        # Of each attempt its own: rows an attempt left in the ledger must not count for the next one.
        attempt_id = first_run.commit_id if first_run else uuid.uuid4().hex
        tried.add(attempt_id)
        try:
            landed = landed or (land_shared(lake.mirror, land) if land else None)
            row = _commit(lake, table, content, sync_id, recorded_at, decision, attempt_id)
        except CommitConflict:
            _log.info("%s %s: another writer was first, comparing again", content.endpoint.name, content.window)
            time.sleep(random.uniform(0.01, 0.05) * 2 ** min(attempt, 5))  # noqa: S311 - spreads writers, no secret
        except Exception:
            # An interrupt is no Exception: it may come just after the commit, which then needs its raw file. So may
            # an error: delta-rs tidies its log after a commit, and can fail at that.
            if not _was_committed(table, attempt_id):
                take_back(lake.mirror, landed)
            raise
        else:
            log.add(row)
            return row
    take_back(lake.mirror, landed)
    raise WarehouseBusy(
        f"{content.endpoint.name} {content.window}: other writers kept changing the same days; run the sync again."
    )


def _was_committed(table: LakeTable, commit_id: str) -> bool:
    """Whether the commit is in the table's history; when that cannot be told, yes, for then raw must stay."""
    try:
        newest = table.open()
        return newest is not None and any(note["commit_id"] == commit_id for note in commit_notes(newest))
    except Exception:  # the first error is the one to report
        return True


def _decide(
    log: CoverageLog,
    table: LakeTable,
    content: Content,
    first_run: FirstRun | None,
    as_of: tuple[datetime, datetime] | None,
    *,
    is_landed_always: bool,
) -> _Decision:
    """Compare hashes day by day; the version is opened first, so that whatever is committed later conflicts.

    A replay (`as_of`: when the read began and was stored) decides as the first run did; where that is not known, as one
    that knew nothing of the reads after it.
    """
    at = table.create()
    recover(log, [at])
    began = content.read.fetched_at
    states = day_states(log, content.organization, content.endpoint.name, content.window, as_of=as_of)
    current = {
        day
        for day in content.days
        if day not in states or (states[day].changed_at if as_of is not None else states[day].checked_at) <= began
    }
    new = {day for day in current if day not in states or states[day].content_hash != content.days[day].content_hash}
    to_log = current if is_landed_always else new
    if first_run is not None:
        to_log = {day for day in content.days if day in (first_run.logged if day in first_run.repeated else to_log)}
        new &= to_log
    to_write = {day for day in new if day in states or content.days[day].rows}
    return _Decision(at, states, frozenset(to_write), frozenset(to_log))


def _commit(
    lake: Lake,
    table: LakeTable,
    content: Content,
    sync_id: str,
    recorded_at: datetime,
    decision: _Decision,
    commit_id: str,
) -> dict[str, Any]:
    """Restatements first (they count only with their coverage row), then the table; returns the coverage row."""
    new_rows = content.rows_of(decision.to_write)
    parts = storage_parts(decision.to_write)
    changes = Changes.none()
    if decision.to_write:
        changes = compare(
            content.endpoint,
            content.organization,
            new_rows=new_rows,
            old_files=table.files(decision.at, {(content.organization, part) for part in parts}),
            days=decision.to_write,
            known=decision.states,
            labels={"recorded_at": naive(recorded_at), "sync_id": sync_id, "commit_id": commit_id},
        )
    row = _log_row(content, sync_id, recorded_at, "replaced", decision.to_log, changes, commit_id=commit_id)
    if changes.restatements.num_rows:
        lake.restatements.append(changes.restatements)
    # A first read that finds no rows touches no file, so another first read of these days would not conflict with it.
    claims = {f"{content.organization}/{day:%Y-%m}" for day in decision.first_read}
    if decision.to_write:
        table.replace(
            decision.at,
            new_rows,
            organizations=[content.organization],
            days=decision.to_write,
            parts=parts,
            note=to_note(row),
            claims=claims,
        )
    elif claims:
        table.claim(decision.at, claims, to_note(row))
    return row


def _log_row(
    content: Content,
    sync_id: str,
    recorded_at: datetime,
    outcome: str,
    logged_days: Collection[date],
    changes: Changes,
    *,
    commit_id: str | None = None,
) -> dict[str, Any]:
    """The coverage log row of this read; `days` lists only days whose content is new."""
    read = content.read
    return {
        "organization": content.organization,
        "endpoint": content.endpoint.name,
        "sync_id": sync_id,
        "commit_id": commit_id or uuid.uuid4().hex,
        "outcome": outcome,
        "window_start": naive(read.window.start),
        "window_end": naive(read.window.end),
        "bucket_width": read.bucket_width,
        "group_by": list(read.group_by),
        "fetched_at": naive(read.fetched_at),
        "committed_at": naive(recorded_at),
        "buckets": len(read.buckets),
        "rows": content.table.num_rows,
        "inserted": changes.inserted,
        "updated": changes.updated,
        "deleted": changes.deleted,
        "restated": changes.restated,
        "pages": len(read.pages),
        "requests": read.requests,
        "retries": read.retries,
        "bytes": sum(page.size for page in read.pages),
        "content_hash": _window_hash(content),
        "notes": list(read.notes),
        "drift": list(content.drift),
        "days": [
            {"date": day, "rows": content.days[day].rows, "content_hash": content.days[day].content_hash}
            for day in sorted(logged_days)
        ],
    }


def _window_hash(content: Content) -> str:
    """One hash for the window, from its days' hashes."""
    digest = hashlib.sha256()
    for day, held in sorted(content.days.items()):
        digest.update(f"{day}:{held.content_hash};".encode())
    return digest.hexdigest()
