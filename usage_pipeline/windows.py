"""Windows: half-open spans of UTC time, and how they divide into days, pages and buckets.

Put arithmetic on time here; what is asked for in a window, or stored of it, lives elsewhere.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import FixConfig

WIDTH_SECONDS: dict[BucketWidth, int] = {"1m": 60, "1h": 3600, "1d": 86400}
DAY_SECONDS = 86400
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The half-open span `[start, end)` in UTC, both ends aware and on whole seconds."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for moment in (self.start, self.end):
            if moment.utcoffset() != timedelta(0):
                raise ValueError(f"a window needs UTC times, not {moment!r}")
        if self.start >= self.end:
            raise ValueError(f"a window must end after it starts: {self.start} .. {self.end}")

    def __str__(self) -> str:
        if self.start_time % DAY_SECONDS == 0 and self.end_time % DAY_SECONDS == 0:
            return f"{self.start:%Y-%m-%d}..{self.end:%Y-%m-%d}"
        return f"{self.start:%Y-%m-%dT%H:%M:%S}Z..{self.end:%Y-%m-%dT%H:%M:%S}Z"

    @property
    def start_time(self) -> int:
        """Unix seconds of the start, inclusive."""
        return int(self.start.timestamp())

    @property
    def end_time(self) -> int:
        """Unix seconds of the end, exclusive."""
        return int(self.end.timestamp())

    @classmethod
    def of_times(cls, start_time: int, end_time: int) -> "Window":
        """From unix seconds."""
        return cls(utc_moment(start_time), utc_moment(end_time))

    @classmethod
    def of_days(cls, first: date, end: date) -> "Window":
        """From the first day to before `end`.

        Raises:
            FixConfig: `end` is not after `first`.
        """
        if end <= first:
            raise FixConfig(f"the window {first}..{end} is empty: the end day must be after the first day.")
        return cls(day_start(first), day_start(end))

    def dates(self) -> list[date]:
        """The UTC days the window touches, in order."""
        first = self.start.date()
        last = (self.end - timedelta(seconds=1)).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def bucket_starts(self, width: BucketWidth) -> range:
        """Unix seconds of every bucket of this width that starts inside an aligned window."""
        return range(self.start_time, self.end_time, WIDTH_SECONDS[width])

    def pages(self, width: BucketWidth, buckets_per_page: int) -> Iterator["Window"]:
        """Consecutive sub-windows of one page each: the fewest requests that cover the window."""
        step = timedelta(seconds=WIDTH_SECONDS[width] * buckets_per_page)
        start = self.start
        while start < self.end:
            yield Window(start, min(start + step, self.end))
            start += step


def utc_moment(seconds: int) -> datetime:
    """The aware UTC time of unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def day_start(day: date) -> datetime:
    """Midnight UTC at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def utc_now() -> datetime:
    """The present time in UTC; callers that decide by time take it once and pass it on."""
    return datetime.now(UTC)


def parse_day(text: str) -> date:
    """A day written YYYY-MM-DD.

    Raises:
        FixConfig: the text is not such a day.
    """
    try:
        if not _DAY.fullmatch(text):  # fromisoformat also takes weeks and compact forms
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise FixConfig(f"{text!r} is not a day: write it as YYYY-MM-DD, for example 2026-11-03.") from None


def day_runs(days: list[date]) -> list[Window]:
    """Days as the fewest windows of consecutive days, in order."""
    runs: list[list[date]] = []
    for day in sorted(set(days)):
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return [Window.of_days(run[0], run[-1] + timedelta(days=1)) for run in runs]
