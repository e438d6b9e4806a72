"""The work, without an orchestrator: read windows of endpoints, replace them in the lake, refresh the warehouse.

Put the flow from client to lake here; commands and assets call it. One endpoint's failure never stops another. The
lists of names beside them are names.py's.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa

from usage_pipeline.api.client import UsageClient
from usage_pipeline.endpoints import ENDPOINTS, BucketWidth, Endpoint
from usage_pipeline.errors import FixConfig, HistoryExceeded, UsagePipelineError
from usage_pipeline.lake.bulk import one_batch
from usage_pipeline.lake.faults import files_explained, memory_explained
from usage_pipeline.lake.formats import refuse_newer
from usage_pipeline.lake.landing import land
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.links import refuse_links
from usage_pipeline.lake.locks import REPLAY_LOCK, shared
from usage_pipeline.lake.replace import replace_window
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import Content, normalize
from usage_pipeline.marts.inputs import check_inputs
from usage_pipeline.memory import give_memory_back
from usage_pipeline.name_lists import NameList
from usage_pipeline.names import NameSync, sync_names
from usage_pipeline.plan import due_windows
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.records import WindowRead
from usage_pipeline.redaction import unexpected
from usage_pipeline.settings import Settings
from usage_pipeline.spool import MEMORY_BYTES, Spool
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import Window, utc_now

_MOST_UNLOGGED = 20  # commits of a table in a row: what a kill leaves unlogged is looked for in the newest fifty
ClientFactory = Callable[[Settings], UsageClient]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """A whole sync: every endpoint, every list of names, and the refresh that followed."""

    sync_id: str
    endpoints: list[EndpointSync] = field(default_factory=list)
    names: list[NameSync] = field(default_factory=list)
    refreshed: Refresh | None = None
    refresh_error: UsagePipelineError | None = None

    @property
    def failed(self) -> list[EndpointSync]:
        """The endpoints that failed."""
        return [done for done in self.endpoints if done.error is not None]


def choose_endpoints(names: Sequence[str] | None) -> list[Endpoint]:
    """The named rows of the table, or all.

    Raises:
        FixConfig: a name is not in the table.
    """
    if not names:
        return list(ENDPOINTS.values())
    for name in names:
        if name not in ENDPOINTS:
            raise FixConfig(f"there is no endpoint {name!r}: the endpoints are {', '.join(ENDPOINTS)}.")
    return [ENDPOINTS[name] for name in dict.fromkeys(names)]


def new_sync_id(now: datetime) -> str:
    """A name for one sync that sorts by time and no two syncs share."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def make_client(settings: Settings, *, on_page: Callable[[], None] | None = None) -> UsageClient:
    """The client of the configured service; `on_page` is called after each page that arrived."""
    return UsageClient(
        base_url=settings.base_url, key=settings.require_key(), spool_folder=settings.data_dir, on_page=on_page
    )


def sync(
    settings: Settings,
    endpoints: Sequence[Endpoint],
    window: Window | None = None,
    *,
    lists: Sequence[NameList] = (),
    on_done: Callable[[EndpointSync | NameSync], None] | None = None,
    clock: Callable[[], datetime] = utc_now,
    client_factory: ClientFactory = make_client,
    is_landed_always: bool = False,
    tell: Tell = tell_nobody,
) -> SyncReport:
    """Read the window of each endpoint (or, without one, what is due), replace it, and refresh the warehouse.

    The lists of names are read beside them. With `is_landed_always` raw gets what was read even where the lake has the
    same. `on_done` hears of each endpoint and list, `tell` of the refresh. Errors of an endpoint, a list and the
    refresh are in the report; what succeeded is refreshed.

    Raises:
        FixConfig: settings do not allow to begin (no key, a data folder that cannot be written, a file people write
            that is wrong): nothing was asked.
        NewerFormat: a newer version wrote the lake: nothing was asked.
        LakeUnwritable: something in the data folder is a symbolic link: nothing was asked.
    """
    client = client_factory(settings)
    settings.prepare_data_dir()
    refuse_newer(settings.lake_dir)
    refuse_links(settings.data_dir)
    check_inputs(settings.data_dir)
    now = clock()
    sync_id = new_sync_id(now)
    log = CoverageLog(Lake(settings.lake_dir))

    async def read_all() -> tuple[list[EndpointSync], list[NameSync]]:
        async with client:
            syncs = (
                sync_endpoint(
                    settings, client, log, endpoint, window, now, sync_id, on_done, is_landed_always=is_landed_always
                )
                for endpoint in endpoints
            )
            lists_read = (sync_names(settings, client, names, sync_id, on_done) for names in lists)
            done, named = await asyncio.gather(asyncio.gather(*syncs), asyncio.gather(*lists_read))
            return list(done), list(named)

    done, named = asyncio.run(read_all())
    report = SyncReport(sync_id=sync_id, endpoints=logged(settings, log, done), names=named)
    if not any(one.rows for one in report.endpoints) and not any(one.outcome == "replaced" for one in named):
        return report
    try:
        return replace(report, refreshed=refresh(settings, tell))
    except UsagePipelineError as error:
        return replace(report, refresh_error=error)


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
