"""The client: windows in, proven-complete reads out.

Put how a window is divided, read concurrently and assembled here; one request's reliability is transport.py's, the
proof listing.py's, what to give up of a grouping grouping.py's.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import SecretStr

from usage_pipeline.api.grouping import Segment, floor_day, relent, split_at_floors
from usage_pipeline.api.models import parse_page
from usage_pipeline.api.name_reads import read_list
from usage_pipeline.api.page_query import Filters, PageQuery, check_aligned, checked_group_by, page_limit
from usage_pipeline.api.paging import PagedRead, PageRead, read_pages
from usage_pipeline.api.portions import MOST_ROWS, reads_of
from usage_pipeline.api.together import together
from usage_pipeline.api.transport import RetryPolicy, Tally, Transport
from usage_pipeline.endpoints import BucketWidth, Endpoint
from usage_pipeline.errors import GroupingRefused, HistoryExceeded, PageTooLarge
from usage_pipeline.name_lists import NameList
from usage_pipeline.records import NamesRead, WindowRead
from usage_pipeline.spool import Spool
from usage_pipeline.windows import WIDTH_SECONDS, Window, day_start, utc_now

_GROUPING_TRIES = 12  # floors and drops of one window; an endpoint has at most seven dimensions
_FEWER = 4  # how many parts a page that is too large is read in
CONCURRENCY = 8  # requests under way at most


class UsageClient:
    """Reads the usage and costs API; an async context manager, to be used in one event loop.

    Args:
        base_url: Includes `/v1`.
        key: The admin key; it goes into the Authorization header and nowhere else.
        concurrency: Requests under way at most, over everything this client reads.
        policy: Attempts, waits, deadlines and the size cap.
        transport: In place of the network, for tests and in-process servers.
        clock: The present UTC time.
        sleep: Waits between attempts.
        rng: Jitter.
        monotonic: Seconds, for the deadline of all that is read.
        spool_folder: Where what does not fit into memory together waits; None for the system's temporary files.
        most_rows: Of one read of `read_finest`, unless a single day has more.
        on_page: Called after each page of usage or costs that arrived.

    Raises:
        FixConfig: the key or the base URL cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: SecretStr,
        concurrency: int = CONCURRENCY,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        spool_folder: Path | None = None,
        most_rows: int = MOST_ROWS,
        on_page: Callable[[], None] | None = None,
    ) -> None:
        self._clock = clock
        self._spool = Spool(spool_folder)
        self._most_rows = most_rows
        self._on_page = on_page
        self._floors: dict[str, dict[str, int]] = {}
        self._limits: dict[tuple[str, BucketWidth], int] = {}  # where whole pages were too large to take
        self._transport = Transport(
            base_url=base_url,
            key=key,
            concurrency=concurrency,
            policy=policy,
            transport=transport,
            clock=clock,
            sleep=sleep,
            rng=rng,
            monotonic=monotonic,
            keep=self._spool.keep,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def read_page(self, endpoint: Endpoint, query: PageQuery) -> PageRead:
        """One page by one request (and its retries); nothing is proven about completeness.

        Raises:
            FixConfig: the endpoint does not take a parameter.
            UsagePipelineError: as `read_window`, save IncompleteListing.
        """
        return await self._read_page(endpoint, query, Tally())

    async def read_window(
        self,
        endpoint: Endpoint,
        window: Window,
        *,
        bucket_width: BucketWidth,
        group_by: Sequence[str] | None = None,
        filters: Filters | None = None,
    ) -> WindowRead | None:
        """Every bucket of a window, proven complete; None where no bucket of it has begun yet.

        The read's window ends with its last bucket: buckets that have not closed may be missing at the end.

        Args:
            endpoint: What to read.
            window: Aligned to the bucket width.
            bucket_width: One the endpoint serves.
            group_by: Dimensions; None for all.
            filters: Query parameter -> values, or one boolean for a flag.

        Raises:
            FixConfig: the window is not aligned, or a parameter is not the endpoint's.
            PermissionRefused: the key was refused.
            RetryLater: the service stayed busy or out of reach.
            IncompleteListing: the pages do not prove the window complete.
            BadPayload: a body is not a page of this endpoint.
            GroupingRefused: a dimension cannot be grouped by here.
            HistoryExceeded: the window starts before what the service keeps.
            RequestRefused: the service does not take another parameter.
        """
        names = endpoint.dimension_names if group_by is None else checked_group_by(endpoint, group_by)
        segment = Segment(window=window, group_by=names)
        found = await self._read_segment(endpoint, segment, bucket_width, filters or {}, Tally(), most_rows=None)
        return found[0] if found else None

    async def read_finest(self, endpoint: Endpoint, window: Window, *, bucket_width: BucketWidth) -> list[WindowRead]:
        """The window by as many dimensions as the service gives, in order of time.

        One read per grouping, or several of whole days where it is long: each fits into memory by itself.
        Empty where no bucket has begun yet. The notes of each read say which dimension was given up and why, and which
        days were left out because the service no longer keeps them.

        Raises:
            GroupingRefused: the refusals cannot be healed by what the endpoint may give up.
            HistoryExceeded: the service keeps no day of the window.
            UsagePipelineError: as `read_window`.
        """
        floors = self._floors.setdefault(endpoint.name, {})
        start = Segment(window=window, group_by=endpoint.dimension_names)
        todo = deque(split_at_floors(start, floors))
        reads: list[WindowRead] = []
        refusals, tally = 0, Tally()
        while todo:
            segment = todo.popleft()
            try:
                reads += await self._read_segment(endpoint, segment, bucket_width, {}, tally, most_rows=self._most_rows)
            except GroupingRefused as refusal:
                refusals += 1
                if refusals > _GROUPING_TRIES:
                    raise
                todo.extendleft(reversed(relent(endpoint, segment, refusal)))
                self._remember(floors, refusal)
                continue
            except HistoryExceeded as refusal:
                first = await self._first_kept(endpoint, segment.window, bucket_width, refusal, tally)
                todo.appendleft(segment.since(first))
                continue
            tally = Tally()
        return reads

    async def _first_kept(
        self, endpoint: Endpoint, window: Window, width: BucketWidth, refusal: HistoryExceeded, tally: Tally
    ) -> datetime:
        """The first day of the window that the service still keeps, found by asking for single buckets.

        "About a year" is all that is known of the limit, and it moves: halving finds it in a few requests.
        """
        days = window.dates()
        first, last = 1, len(days)  # the days before `first` are refused, those from `last` on are not
        while first < last:
            middle = (first + last) // 2
            start = day_start(days[middle])
            one = Window(start, start + timedelta(seconds=WIDTH_SECONDS[width]))
            query = PageQuery(start_time=one.start_time, end_time=one.end_time, bucket_width=width, limit=1)
            try:
                await self._read_page(endpoint, query, tally)
                last = middle
            except HistoryExceeded:
                first = middle + 1
        if first == len(days):
            raise refusal
        return day_start(days[first])

    def _remember(self, floors: dict[str, int], refusal: GroupingRefused) -> None:
        """Keep a floor so that other windows of this client need not be refused to learn it."""
        floor = floor_day(refusal)
        if floor is not None and refusal.dimension is not None:
            floors[refusal.dimension] = max(floor, floors.get(refusal.dimension, 0))

    async def read_names(self, names: NameList) -> NamesRead:
        """A whole list of names, of all projects where it is one per project, or an error: never a part.

        Raises:
            PermissionRefused: the key may not read this list; usage can still be read.
            RetryLater: the service stayed busy or out of reach.
            IncompleteListing: the pages do not end, or an empty list came where there must be something.
            BadPayload: a body is not a page of this list.
            RequestRefused: the service does not take a parameter.
        """
        return await read_list(self._transport, names, self._clock())

    async def _read_segment(
        self,
        endpoint: Endpoint,
        segment: Segment,
        width: BucketWidth,
        filters: Filters,
        tally: Tally,
        *,
        most_rows: int | None,
    ) -> list[WindowRead]:
        """The sub-windows of a window, read concurrently: one failing or being cancelled ends the others."""
        fetched_at = self._clock()
        window, key = segment.window, (endpoint.name, width)
        most = page_limit(endpoint, width).maximum
        check_aligned(endpoint, window, width)
        query = PageQuery(
            start_time=window.start_time,
            end_time=window.end_time,
            bucket_width=width,
            group_by=segment.group_by,
            filters=filters,
        )

        async def fetch(page_query: PageQuery) -> PageRead:
            return await self._read_page(endpoint, page_query, tally)

        async def read_part(part: Window) -> list[PagedRead]:
            """The part by one page or, where such pages are too large to take, by several of fewer buckets."""
            where, limit = f"{endpoint.name} {part}", self._limits.get(key, most)
            pieces = list(part.pages(width, limit))
            if len(pieces) > 1:
                return [one for piece in pieces for one in await read_part(piece)]
            try:
                return [await read_pages(fetch, replace(query, limit=limit), part, width, where)]
            except PageTooLarge:
                buckets = min(limit, len(part.bucket_starts(width)))
                if buckets == 1:
                    raise
                fewer = max(1, buckets // _FEWER)
                self._limits[key] = min(fewer, self._limits.get(key, fewer))
                first, *others = await read_part(part)
                note = f"{where}: a page of {buckets} buckets was too large to take; read {fewer} at a time."
                return [replace(first, notes=(*first.notes, note)), *others]

        parts = await together([read_part(part) for part in window.pages(width, self._limits.get(key, most))])
        whole = [one for found in parts for one in found]
        return reads_of(endpoint.name, segment, width, fetched_at, whole, tally, most_rows)

    async def _read_page(self, endpoint: Endpoint, query: PageQuery, tally: Tally) -> PageRead:
        where = f"{endpoint.name} {query.span}"
        own = Tally()
        try:
            answer = await self._transport.get(
                endpoint.path,
                query.parameters(endpoint),
                where=where,
                read=lambda body: parse_page(endpoint, body, where=where, keep=self._spool.keep_columns),
                tally=own,
            )
        finally:
            tally.requests += own.requests
            tally.retries += own.retries
        if self._on_page is not None:
            self._on_page()
        return PageRead(
            page=answer.value,
            raw=answer.raw,
            served_at=answer.served_at,
            requests=own.requests,
            retries=own.retries,
        )
