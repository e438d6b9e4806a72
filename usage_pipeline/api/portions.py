"""What a proven window becomes: one read, or several of whole days where one would not fit into memory.

Put the making of reads from proven sub-windows here; reading them is paging.py's.
"""

from collections.abc import Sequence
from datetime import datetime

from usage_pipeline.api.grouping import Segment
from usage_pipeline.api.listing import join
from usage_pipeline.api.paging import PagedRead
from usage_pipeline.api.transport import Tally
from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.records import WindowRead
from usage_pipeline.windows import DAY_SECONDS, Window, utc_moment

MOST_ROWS = 150_000  # of one read, unless a single day has more; 45 MiB of columns
_NOTABLE_SKEW_SECONDS = 120


def reads_of(
    endpoint: str,
    segment: Segment,
    width: BucketWidth,
    fetched_at: datetime,
    parts: Sequence[PagedRead],
    tally: Tally,
    most_rows: int | None,
) -> list[WindowRead]:
    """The sub-windows of a segment as consecutive reads of at most so many rows; empty where no bucket has begun.

    The first tells of all requests, save those that brought the pages of the others.

    Raises:
        IncompleteListing: a sub-window stops early and a later one has buckets.
    """
    join([(part.window, part.buckets) for part in parts], width, f"{endpoint} {segment.window}")
    groups = _grouped([part for part in parts if part.buckets], most_rows)
    notes = (*segment.notes, *_notes(parts))
    reads: list[WindowRead] = []
    for group in reversed(groups):
        pages = [page for part in group for page in part.pages]
        own = Tally(requests=sum(page.requests for page in pages), retries=sum(page.retries for page in pages))
        tally.requests -= own.requests
        tally.retries -= own.retries
        if group is groups[0]:
            own = Tally(requests=own.requests + tally.requests, retries=own.retries + tally.retries)
        buckets = [bucket for part in group for bucket in part.buckets]
        reads.append(
            WindowRead(
                endpoint=endpoint,
                window=Window(group[0].window.start, utc_moment(buckets[-1].end_time)),
                bucket_width=width,
                group_by=segment.group_by,
                fetched_at=fetched_at,
                pages=[page.raw for page in pages],
                buckets=buckets,
                requests=own.requests,
                retries=own.retries,
                notes=notes,
            )
        )
    return reads[::-1]


def _grouped(parts: Sequence[PagedRead], most_rows: int | None) -> list[list[PagedRead]]:
    """Consecutive parts together while they have room; cut only where a day begins."""
    groups: list[list[PagedRead]] = []
    rows = 0
    for part in parts:
        own = sum(len(bucket.results) for bucket in part.buckets)
        is_within_day = part.window.start_time % DAY_SECONDS != 0
        if groups and (most_rows is None or rows + own <= most_rows or is_within_day):
            groups[-1].append(part)
            rows += own
        else:
            groups.append([part])
            rows = own
    return groups


def _notes(parts: Sequence[PagedRead]) -> tuple[str, ...]:
    """Each thing noticed once, the difference of the clocks among them where it is worth knowing."""
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    skews = [
        int((page.served_at - page.raw.received_at).total_seconds())
        for part in parts
        for page in part.pages
        if page.served_at is not None
    ]
    worst = max(skews, key=abs, default=0)
    if abs(worst) > _NOTABLE_SKEW_SECONDS:
        notes[f"the service's clock differs from ours by {worst} s; the service's was taken."] = None
    return tuple(notes)
