"""Following page cursors through one sub-window, to a proven end or a named failure.

Put the rules of paging here; what pages together must hold is listing.py's, sending one request client.py's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from usage_pipeline.api.listing import Listing, ServiceTime
from usage_pipeline.api.models import Page
from usage_pipeline.api.page_query import PageQuery
from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import IncompleteListing, RequestRefused
from usage_pipeline.records import Bucket, RawPage
from usage_pipeline.windows import Window

_RESTARTS = 2
# Pages that bring no new bucket. Pages that do are bounded by the buckets expected: costs was seen to answer with
# fewer buckets than `limit`, so pages cannot be counted from it.
_IDLE_PAGES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRead:
    """One page: what it says, the response it came in, and the service's clock (None where it gave none)."""

    page: Page
    raw: RawPage
    served_at: datetime | None
    requests: int = 1
    retries: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PagedRead:
    """A sub-window read to its end and proven: its pages in order, its buckets, and what was noticed."""

    window: Window
    pages: list[PageRead]
    buckets: list[Bucket]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    """One pass from the first page on; a restart begins a new one so that two listings never mix."""

    listing: Listing
    where: str
    pages: list[PageRead] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    cursors: set[str] = field(default_factory=set)
    idle: int = 0

    def take(self, read: PageRead) -> str | None:
        """Take in a page; the cursor of the next one, None at the end."""
        self.pages.append(read)
        self.notes.update(dict.fromkeys(read.page.notes))
        before = self.listing.count
        served = ServiceTime.of(read.served_at, read.raw.received_at)
        if not self.listing.add(read.page.buckets, served):
            self.notes["a page past the end of the window was offered and ignored."] = None
            return None
        self.idle += self.listing.count == before
        return self._next(read.page)

    def _next(self, page: Page) -> str | None:
        if not page.has_more:
            return None
        cursor = page.next_page
        if cursor is None:
            raise self._wrong("has_more=true came without a page cursor")
        if cursor in self.cursors:
            raise self._wrong("a page cursor came twice: following it would never end")
        if self.idle > _IDLE_PAGES:
            raise self._wrong(f"{self.idle} pages brought no new bucket and still more were promised")
        self.cursors.add(cursor)
        return cursor

    def _wrong(self, problem: str) -> IncompleteListing:
        return IncompleteListing(
            f"{self.where}: {problem} (page {len(self.pages)}); nothing of this read was kept, run again."
        )


async def read_pages(
    fetch: Callable[[PageQuery], Awaitable[PageRead]], query: PageQuery, window: Window, width: BucketWidth, where: str
) -> PagedRead:
    """Read a sub-window's pages to the end, every parameter but the page cursor identical, and prove them complete.

    A cursor the service no longer takes restarts the sub-window from its first page, twice at most.

    Raises:
        IncompleteListing: the pages do not end, or do not hold every bucket once.
        RequestRefused: the cursor was refused on every restart.
    """
    query = replace(query, start_time=window.start_time, end_time=window.end_time)
    restarts = 0
    while True:
        walk = _Walk(listing=Listing(window, width, where), where=where)
        try:
            await _follow(fetch, query, walk)
        except RequestRefused as refused:
            if refused.param != "page" or not walk.pages or restarts == _RESTARTS:
                raise
        else:
            break
        restarts += 1
    notes = list(walk.notes)
    if restarts:
        notes.append(f"{where}: the page cursor was refused {restarts} times; read again from the first page.")
    return PagedRead(window=window, pages=walk.pages, buckets=walk.listing.prove(), notes=tuple(notes))


async def _follow(fetch: Callable[[PageQuery], Awaitable[PageRead]], query: PageQuery, walk: _Walk) -> None:
    cursor = walk.take(await fetch(query))
    while cursor is not None:
        cursor = walk.take(await fetch(replace(query, page=cursor)))
