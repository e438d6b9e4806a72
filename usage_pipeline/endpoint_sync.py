"""One endpoint of one organization: its windows read, proven, and replaced in the lake.

Put the flow from client to lake here; what is synced together is sync.py's. What goes wrong on purpose becomes the
result's error, so that one endpoint's failure never stops another.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa

from usage_pipeline.api.client import UsageClient
from usage_pipeline.endpoints import BucketWidth, Endpoint
from usage_pipeline.errors import HistoryExceeded, UsagePipelineError
from usage_pipeline.lake.bulk import one_batch
from usage_pipeline.lake.copies import damaged_logs
from usage_pipeline.lake.damage import refuse_damaged
from usage_pipeline.lake.faults import files_explained, memory_explained
from usage_pipeline.lake.landing import land
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.locks import REPLAY_LOCK, shared
from usage_pipeline.lake.replace import replace_window
from usage_pipeline.lake.seals import seals_if_readable
from usage_pipeline.lake.tables import Content, normalize
from usage_pipeline.memory import give_memory_back
from usage_pipeline.plan import due_windows
from usage_pipeline.records import WindowRead
from usage_pipeline.redaction import unexpected
from usage_pipeline.settings import Settings
from usage_pipeline.spool import MEMORY_BYTES, Spool
from usage_pipeline.windows import Window, utc_now

# Commits of a table in a row, of each of the four organizations that are read at once: what a kill leaves unlogged is
# looked for in the newest fifty.
_MOST_UNLOGGED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointSync:
    """How one endpoint fared: its coverage log rows, or the error that left it unchanged."""

    endpoint: str
    windows: tuple[Window, ...]
    rows: tuple[dict[str, Any], ...] = ()
    error: UsagePipelineError | None = None
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """`failed`, `replaced` (something was new) or `unchanged`."""
        if self.error is not None:
            return "failed"
        return "replaced" if any(row["outcome"] == "replaced" for row in self.rows) else "unchanged"

    def total(self, name: str) -> int:
        """The sum of a count (rows, inserted, updated, deleted, restated, pages, requests, retries, bytes, buckets)."""
        return sum(row[name] for row in self.rows)

    def notes(self, name: str) -> list[str]:
        """The distinct `notes` or `drift` of all windows."""
        return list(dict.fromkeys(note for row in self.rows for note in row[name]))


def logged(settings: Settings, log: CoverageLog, done: Sequence[EndpointSync]) -> list[EndpointSync]:
    """Write to the coverage log what the endpoints' reads found; where it cannot be, theirs is the error.

    The next run then logs what reached the tables: the commits carry their rows. A replay that is adopting its result
    goes first.
    """
    try:
        _flush(settings, log)
    except UsagePipelineError as wrong:
        return [replace(one, error=one.error or wrong) if one.rows else one for one in done]
    return list(done)


def _flush(settings: Settings, log: CoverageLog) -> None:
    with files_explained("the coverage log"), shared(settings.data_dir / REPLAY_LOCK):
        log.flush()


async def sync_endpoint(
    settings: Settings,
    client: UsageClient,
    log: CoverageLog,
    endpoint: Endpoint,
    window: Window | None,
    now: datetime,
    sync_id: str,
    on_done: Callable[[EndpointSync], None] | None = None,
    *,
    is_landed_always: bool = False,
) -> EndpointSync:
    """Read and replace one endpoint; what goes wrong on purpose becomes the result's error, not an exception.

    What was found is in `log`, which the caller has `logged` once all that is read together is stored.
    """
    give_memory_back()
    began = time.monotonic()
    width = endpoint.width_for(settings.bucket_width)
    windows: tuple[Window, ...] = ()
    rows: list[dict[str, Any]] = []
    error: UsagePipelineError | None = None
    try:
        with memory_explained(endpoint.name):
            windows = (window,) if window else tuple(await asyncio.to_thread(due_windows, settings, log, endpoint, now))
            await asyncio.to_thread(_refuse_damaged, log, endpoint)
            # Every window is read, proven and fitted before the first is written: a failure there leaves all as it was.
            reads = _joined(await asyncio.gather(*(_read_kept(client, endpoint, one, width) for one in windows)))
            spool = Spool(settings.data_dir, memory_bytes=MEMORY_BYTES if len(reads) == 1 else 0)
            contents = deque[_Waiting]()
            while reads:  # none is kept longer than it is needed: of a long window one day is a large part of memory
                contents.append(await asyncio.to_thread(_fitted, settings, endpoint, reads.pop(0), spool))
            while contents:
                store = partial(_store, settings, log, contents.popleft(), sync_id, is_landed_always)
                rows.append(await asyncio.to_thread(store))
                if len(rows) % _MOST_UNLOGGED == 0:
                    await asyncio.to_thread(_flush, settings, log)
    except UsagePipelineError as wrong:
        error = wrong
    except Exception as bug:  # another endpoint's work must not be lost to a bug in this one's
        error = unexpected(endpoint.name, bug, settings.secrets)
    done = EndpointSync(
        endpoint=endpoint.name,
        windows=windows,
        rows=tuple(rows),
        error=error,
        seconds=time.monotonic() - began,
    )
    if on_done is not None:
        on_done(done)
    return done


def _refuse_damaged(log: CoverageLog, endpoint: Endpoint) -> None:
    """What is stored upon a table that seems older than it is is compared with the wrong state."""
    parts = (f"usage.{endpoint.name}", "meta.sync_log", "meta.restatements")
    damaged = damaged_logs(log.lake, seals_if_readable(log.lake.root), parts)
    refuse_damaged(damaged, parts, f"Nothing of {endpoint.name} was stored.")


async def _read_kept(
    client: UsageClient, endpoint: Endpoint, window: Window, width: BucketWidth
) -> list[WindowRead] | HistoryExceeded:
    """A window's reads, or that the service no longer keeps any day of it: then the other windows still count."""
    try:
        return await client.read_finest(endpoint, window, bucket_width=width)
    except HistoryExceeded as gone:
        return gone


def _joined(found: Sequence[list[WindowRead] | HistoryExceeded]) -> list[WindowRead]:
    """The reads of all windows; those that are kept no longer are noted with the first.

    Raises:
        HistoryExceeded: there is nothing but windows that are kept no longer.
    """
    gone = [one for one in found if isinstance(one, HistoryExceeded)]
    reads = [read for one in found if not isinstance(one, HistoryExceeded) for read in one]
    if gone and not reads:
        raise gone[0]
    if gone:
        reads[0] = replace(reads[0], notes=(*reads[0].notes, *map(str, gone)))
    return reads


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A read that fits its table and waits to be stored: everything but the rows, and the rows where they are kept."""

    content: Content
    rows: Callable[[], pa.RecordBatch]


def _fitted(settings: Settings, endpoint: Endpoint, read: WindowRead, spool: Spool) -> _Waiting:
    """Normalize a read; what it was made of is let go."""
    content = normalize(endpoint, settings.organization, read)
    emptied = replace(read, buckets=[replace(bucket, results=()) for bucket in read.buckets])
    rows = spool.keep_columns(one_batch(content.table))
    give_memory_back()
    return _Waiting(replace(content, read=emptied, table=content.table.schema.empty_table()), rows)


def _store(
    settings: Settings, log: CoverageLog, waiting: _Waiting, sync_id: str, is_landed_always: bool
) -> dict[str, Any]:
    """Make the lake hold what was read; a replay that is adopting its result goes first."""
    give_memory_back()
    content = replace(waiting.content, table=pa.Table.from_batches([waiting.rows()]))
    recorded_at = utc_now()
    with shared(settings.data_dir / REPLAY_LOCK):
        return replace_window(
            log,
            content,
            sync_id,
            recorded_at,
            land=lambda: land(settings.raw_dir, content.organization, sync_id, recorded_at, content.read),
            is_landed_always=is_landed_always,
        )
