"""The work, without an orchestrator: read windows of endpoints, replace them in the lake, refresh the warehouse.

Put what is synced together here; commands and assets call it. One endpoint's way from client to lake is
endpoint_sync.py's, the lists of names beside them are names.py's, many organizations sync_many.py's.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from usage_pipeline.api.client import CONCURRENCY, UsageClient
from usage_pipeline.endpoint_sync import EndpointSync, logged, sync_endpoint
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.errors import FixConfig, UsagePipelineError
from usage_pipeline.lake.formats import refuse_newer
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.links import refuse_links
from usage_pipeline.lake.mirror import refuse_copy
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.inputs import check_inputs, take_inputs
from usage_pipeline.name_lists import NameList
from usage_pipeline.names import NameSync, sync_names
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import Window, utc_now

ClientFactory = Callable[[Settings], UsageClient]


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

    @property
    def has_news(self) -> bool:
        """Whether something was stored, or checked, that the published file does not show yet."""
        return any(one.rows for one in self.endpoints) or any(one.outcome == "replaced" for one in self.names)

    @property
    def errors(self) -> list[UsagePipelineError]:
        """Everything that failed; that a key may not read names is none."""
        found = [one.error for one in self.endpoints] + [one.error for one in self.names if not one.is_refused]
        return [error for error in (*found, self.refresh_error) if error is not None]


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


def make_client(
    settings: Settings, *, on_page: Callable[[], None] | None = None, concurrency: int = CONCURRENCY
) -> UsageClient:
    """The client of the configured service; `on_page` is called after each page that arrived."""
    return UsageClient(
        base_url=settings.base_url,
        key=settings.require_key(),
        concurrency=concurrency,
        spool_folder=settings.data_dir,
        on_page=on_page,
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
    check_folder(settings)
    now = clock()
    sync_id = new_sync_id(now)
    log = CoverageLog(Lake.of(settings))
    read = read_organization(
        settings, client, log, endpoints, window, lists, now, sync_id, on_done, is_landed_always=is_landed_always
    )
    done, named = asyncio.run(read)
    report = SyncReport(sync_id=sync_id, endpoints=logged(settings, log, done), names=named)
    if not report.has_news:
        return report
    try:
        return replace(report, refreshed=refresh(settings, tell))
    except UsagePipelineError as error:
        return replace(report, refresh_error=error)


def check_folder(settings: Settings) -> None:
    """Make sure, before anything is asked, that what comes can be written.

    Raises:
        FixConfig: the data folder cannot be written, a file people write is wrong, or the lake's URL refuses.
        RetryLater: the lake's URL is out of reach.
        NewerFormat: a newer version wrote the lake.
        LakeUnwritable: something in the data folder is a symbolic link.
    """
    settings.prepare_data_dir()
    refuse_newer(settings.lake_dir)
    refuse_links(settings.data_dir)
    if settings.lake_url is None:
        refuse_copy(settings.data_dir)
    take_inputs(Lake.of(settings))
    check_inputs(settings.data_dir, settings.labels)


async def read_organization(
    settings: Settings,
    client: UsageClient,
    log: CoverageLog,
    endpoints: Sequence[Endpoint],
    window: Window | None,
    lists: Sequence[NameList],
    now: datetime,
    sync_id: str,
    on_done: Callable[[EndpointSync | NameSync], None] | None = None,
    *,
    is_landed_always: bool = False,
) -> tuple[list[EndpointSync], list[NameSync]]:
    """Read and store an organization's endpoints and lists, all at once; the caller has the endpoints `logged`."""
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
