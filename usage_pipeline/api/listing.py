"""The proof that a listing is complete: every expected bucket once, in its place, of its width.

Put what pages together must satisfy here; following page cursors is paging.py's, what one page may hold models.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import IncompleteListing
from usage_pipeline.records import Bucket
from usage_pipeline.windows import WIDTH_SECONDS, Window, utc_moment

# How far our own clock may be off, where the service did not give its time.
_CLOCK_SKEW_SECONDS = 600
# The Date header is stamped when the answer is sent, up to this long after its buckets were looked up.
_ANSWER_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceTime:
    """What the service's clock surely said when it answered, in unix seconds.

    Buckets ending by `closed_until` had closed; buckets starting after `begun_until` had not begun.
    """

    closed_until: int
    begun_until: int

    @classmethod
    def of(cls, served_at: datetime | None, local: datetime) -> "ServiceTime":
        """From the Date header, else from the local clock with room for a skew of ten minutes either way."""
        if served_at is not None:
            now = int(served_at.timestamp())
            return cls(closed_until=now - _ANSWER_SECONDS, begun_until=now)
        now = int(local.timestamp())
        return cls(closed_until=now - _CLOCK_SKEW_SECONDS, begun_until=now + _CLOCK_SKEW_SECONDS)


class Listing:
    """Collects the buckets of one window page by page and proves them complete.

    Every check names the endpoint and the window; `where` is that name.
    """

    def __init__(self, window: Window, width: BucketWidth, where: str) -> None:
        self._window = window
        self._step = WIDTH_SECONDS[width]
        self._expected = window.bucket_starts(width)
        self._where = where
        self._buckets: dict[int, Bucket] = {}
        self._not_begun: set[int] = set()
        self._closed_until: int | None = None

    @property
    def count(self) -> int:
        """Buckets of the window seen so far, those included that have not begun."""
        return len(self._buckets) + len(self._not_begun)

    @property
    def has_every_bucket(self) -> bool:
        """Whether no bucket of the window is missing any more."""
        return self.count == len(self._expected)

    def add(self, buckets: Sequence[Bucket], served: ServiceTime) -> bool:
        """Take in a page. False: it lies wholly past the window of a listing already complete, and was ignored.

        Raises:
            IncompleteListing: a bucket is outside the window, misaligned, of another width, or differs from an
                equal one.
        """
        is_past = bool(buckets) and all(b.start_time >= self._window.end_time for b in buckets)
        if is_past and self.has_every_bucket:
            return False
        known = self._closed_until
        self._closed_until = served.closed_until if known is None else min(known, served.closed_until)
        for bucket in buckets:
            self._check_place(bucket, served)
            self._place(bucket, served)
        return True

    def prove(self) -> list[Bucket]:
        """The buckets in order with their nominal ends. They may stop early, at the first bucket still open.

        Raises:
            IncompleteListing: a closed bucket is missing, or one before a bucket that is there.
        """
        missing = [start for start in self._expected if start not in self._buckets]
        closed = [start for start in missing if start + self._step <= (self._closed_until or 0)]
        if closed:
            raise self._wrong(
                f"{len(closed)} of {len(self._expected)} buckets are missing although they had closed, "
                f"the first {utc_moment(closed[0]):%Y-%m-%dT%H:%M}Z"
            )
        if missing and self._buckets and missing[0] < max(self._buckets):
            raise self._wrong(f"the bucket {utc_moment(missing[0]):%Y-%m-%dT%H:%M}Z is missing before later ones")
        return [self._buckets[start] for start in sorted(self._buckets)]

    def _check_place(self, bucket: Bucket, served: ServiceTime) -> None:
        """Refuse a bucket that is not one of the expected ones; only an open one may end early (usage: now)."""
        start, end = bucket.start_time, bucket.end_time
        if end <= start:
            raise self._wrong(f"the bucket {start} is inverted: it ends at {end}")
        if start % self._step:
            raise self._wrong(f"the bucket {start} does not start on a boundary of {self._step} s")
        if start not in self._expected:
            raise self._wrong(f"the bucket {start} is outside the window")
        nominal = start + self._step
        if end > nominal or (end < nominal and nominal <= served.closed_until):
            raise self._wrong(f"the bucket {start} has the wrong width: {end - start} s instead of {self._step} s")

    def _place(self, bucket: Bucket, served: ServiceTime) -> None:
        """Keep a bucket, with its nominal end: a moving now would make every read of it differ."""
        start = bucket.start_time
        if start > served.begun_until:
            if bucket.results:
                raise self._wrong(
                    f"the bucket {start} holds results and has not begun by the service's time; check the clocks"
                )
            self._not_begun.add(start)
            return
        whole = replace(bucket, end_time=start + self._step)
        if self._buckets.setdefault(start, whole) != whole:
            raise self._wrong(f"the bucket {start} came twice with different content")
        self._not_begun.discard(start)

    def _wrong(self, problem: str) -> IncompleteListing:
        return IncompleteListing(f"{self._where}: {problem}; nothing of this read was kept, run again.")


def join(parts: Sequence[tuple[Window, list[Bucket]]], width: BucketWidth, where: str) -> list[Bucket]:
    """The buckets of consecutive proven windows as one listing without a gap.

    Raises:
        IncompleteListing: a window stops early and a later one has buckets.
    """
    buckets: list[Bucket] = []
    short: Window | None = None
    for window, part in parts:
        if short is not None and part:
            raise IncompleteListing(f"{where}: {short} stops early and {window} has buckets; run again.")
        if len(part) < len(window.bucket_starts(width)):
            short = short or window
        buckets += part
    return buckets
