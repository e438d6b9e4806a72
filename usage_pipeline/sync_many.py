"""A sync of many organizations: each read for itself, some at a time, all published together.

Put what organizations of one sync share here; how one is read is sync.py's. Nothing that befalls one stops another.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from usage_pipeline.endpoint_sync import EndpointSync, logged
from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import FixConfig, UsagePipelineError
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.name_lists import NameList
from usage_pipeline.names import NameSync
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.redaction import unexpected
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory, SyncReport, check_folder, make_client, new_sync_id, read_organization
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import Window, utc_now

AT_ONCE = 4  # organizations: each has a rate limit of its own, but this machine's memory and cores are shared


@dataclass(frozen=True, kw_only=True, slots=True)
class OrganizationSync:
    """How one organization fared: the report of its reads, or why it could not begin."""

    organization: str
    report: SyncReport
    error: UsagePipelineError | None = None

    @property
    def errors(self) -> list[UsagePipelineError]:
        """Everything of it that failed."""
        return self.report.errors if self.error is None else [self.error]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManyReport:
    """How all fared, in the order asked for, and the refresh that followed."""

    organizations: list[OrganizationSync]
    refreshed: Refresh | None = None
    refresh_error: UsagePipelineError | None = None

    @property
    def exit_code(self) -> int:
        """1 where anything failed; 2 where nothing at all could be read for reasons of configuration."""
        failed = [error for one in self.organizations for error in one.errors]
        if not failed and self.refresh_error is None:
            return 0
        is_all_config = all(one.errors for one in self.organizations) and self.refresh_error is None
        return FixConfig.exit_code if is_all_config and all(isinstance(e, FixConfig) for e in failed) else 1


def sync_many(
    members: Sequence[Settings],
    endpoints: Sequence[Endpoint],
    window: Window | None = None,
    *,
    lists: Sequence[NameList] = (),
    on_done: Callable[[EndpointSync | NameSync], None] | None = None,
    clock: Callable[[], datetime] = utc_now,
    client_factory: ClientFactory = make_client,
    tell: Tell = tell_nobody,
) -> ManyReport:
    """Read each organization as `sync` does, `AT_ONCE` of them at a time, and refresh the warehouse once.

    Raises:
        FixConfig, NewerFormat, LakeUnwritable: nothing of any organization could be written; nothing was asked.
    """
    check_folder(members[0])
    now, log = clock(), CoverageLog(Lake.of(members[0]))
    places = asyncio.Semaphore(AT_ONCE)

    async def read(settings: Settings) -> OrganizationSync:
        report = SyncReport(sync_id=new_sync_id(now))
        error: UsagePipelineError | None = None
        async with places:
            try:
                client = client_factory(settings)
                done, named = await read_organization(
                    settings, client, log, endpoints, window, lists, now, report.sync_id, on_done
                )
                # Each by itself: what a kill leaves unlogged stays little, and a failure is one organization's.
                done = await asyncio.to_thread(logged, settings, log, done)
                report = replace(report, endpoints=done, names=named)
            except UsagePipelineError as wrong:
                error = wrong
            except Exception as bug:  # the other organizations' work must not be lost to a bug in this one's
                error = unexpected(settings.organization, bug, settings.secrets)
        return OrganizationSync(organization=settings.organization, report=report, error=error)

    async def read_all() -> list[OrganizationSync]:
        return await asyncio.gather(*map(read, members))

    return _published(members[0], asyncio.run(read_all()), tell)


def _published(folder: Settings, done: list[OrganizationSync], tell: Tell) -> ManyReport:
    if not any(one.report.has_news for one in done):
        return ManyReport(organizations=done)
    try:
        return ManyReport(organizations=done, refreshed=refresh(folder, tell))
    except UsagePipelineError as error:
        return ManyReport(organizations=done, refresh_error=error)
