"""Names, without an orchestrator: read a list, land it, merge it into its dims table.

Put the flow from client to dims here. One list's failure never stops another, nor the endpoints beside it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from usage_pipeline.api.client import UsageClient
from usage_pipeline.errors import PermissionRefused, UsagePipelineError
from usage_pipeline.lake.landing import land_names
from usage_pipeline.lake.locks import DIMS_LOCK, REPLAY_LOCK, exclusive, shared
from usage_pipeline.lake.names import NameChanges, replace_names
from usage_pipeline.lake.store import Lake
from usage_pipeline.name_lists import LISTS, NameList
from usage_pipeline.records import NamesRead
from usage_pipeline.redaction import unexpected
from usage_pipeline.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class NameSync:
    """How one list of names fared: what it changed, or the error that left its table as it was."""

    names: NameList
    read: NamesRead | None = None
    changes: NameChanges | None = None
    error: UsagePipelineError | None = None
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """Its table: `dims.projects`."""
        return self.names.label

    @property
    def is_refused(self) -> bool:
        """Whether the key may not read this list: worth a warning, not a failure, for usage needs no names."""
        return isinstance(self.error, PermissionRefused)

    @property
    def outcome(self) -> str:
        """`failed`, `refused`, `replaced` (something was new) or `unchanged`."""
        if self.error is not None or self.changes is None:
            return "refused" if self.is_refused else "failed"
        return self.changes.outcome

    def total(self, name: str) -> int:
        """A count: rows, inserted, updated, deleted, requests, retries, pages or bytes; 0 where it has no meaning."""
        if self.read is None or self.changes is None:
            return 0
        counts = {
            "rows": self.changes.rows,
            "inserted": self.changes.inserted,
            "updated": self.changes.updated,
            "deleted": self.changes.deleted,
            "requests": self.read.requests,
            "retries": self.read.retries,
            "pages": len(self.read.pages),
            "bytes": sum(page.size for page in self.read.pages),
        }
        return counts.get(name, 0)

    @property
    def warnings(self) -> list[str]:
        """What a person should know though the list was read."""
        return [] if self.read is None else [*self.read.drift, *self.read.notes]


def choose_lists(endpoint_names: object) -> list[NameList]:
    """The lists a sync reads: all, but none where only some endpoints were asked for."""
    return [] if endpoint_names else list(LISTS.values())


async def sync_names(
    settings: Settings,
    client: UsageClient,
    names: NameList,
    sync_id: str,
    on_done: Callable[[NameSync], None] | None = None,
) -> NameSync:
    """Read a list whole and merge it; what goes wrong on purpose becomes the result's error, not an exception."""
    began = time.monotonic()
    read: NamesRead | None = None
    changes: NameChanges | None = None
    error: UsagePipelineError | None = None
    try:
        read = await client.read_names(names)
        changes = await asyncio.to_thread(_store, settings, read, sync_id)
    except UsagePipelineError as wrong:
        error = wrong
    except Exception as bug:  # usage must not be lost to a bug in the names
        error = unexpected(names.label, bug, settings.secrets)
    done = NameSync(names=names, read=read, changes=changes, error=error, seconds=time.monotonic() - began)
    if on_done is not None:
        on_done(done)
    return done


def _store(settings: Settings, read: NamesRead, sync_id: str) -> NameChanges:
    """Merge a read; a replay that is adopting its result goes first, and one list is merged at a time."""
    with shared(settings.data_dir / REPLAY_LOCK), exclusive(settings.data_dir / DIMS_LOCK):
        return replace_names(
            Lake.of(settings),
            read.list_name,
            settings.organization,
            read.items,
            read.fetched_at,
            land=lambda: land_names(settings.raw_dir, settings.organization, sync_id, read),
        )
