"""Which days a report tells about, and which days it compares them with.

Put arithmetic on the report's days here; what is known of them is facts.py's.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from usage_pipeline.errors import FixConfig
from usage_pipeline.exports import month_window
from usage_pipeline.windows import Window

LAST_DAYS = 30  # when nothing is asked for
MOST_DAYS = 366


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """The days told of, those compared with, and the month whose budget counts: that of the last day told of."""

    window: Window
    before: Window

    @property
    def first(self) -> date:
        """The first day told of."""
        return self.window.start.date()

    @property
    def last(self) -> date:
        """The last day told of."""
        return self.window.end.date() - timedelta(days=1)

    @property
    def days(self) -> list[date]:
        """All of them."""
        return self.window.dates()

    @property
    def month(self) -> date:
        """The first day of the month whose budget counts."""
        return self.last.replace(day=1)


def choose_period(month: str | None, last: int | None, as_of: date, first_known: date | None) -> Period:
    """A month (as far as it is over), or the last days, up to the last closed day and not from before the first known.

    Raises:
        FixConfig: both are asked for, one of them is wrong, or the month has not begun.
    """
    if month is not None and last is not None:
        raise FixConfig("--month and --last exclude each other: leave one out.")
    if month is None:
        count = LAST_DAYS if last is None else last
        if not 1 <= count <= MOST_DAYS:
            raise FixConfig(f"--last {count}: choose 1 to {MOST_DAYS} days.")
        first, end = as_of - timedelta(days=count - 1), as_of + timedelta(days=1)
        before = Window.of_days(first - timedelta(days=count), first)
        return Period(window=_known(first, end, first_known), before=before)
    asked = month_window(month)
    first, end = asked.start.date(), min(asked.end.date(), as_of + timedelta(days=1))
    if end <= first:
        raise FixConfig(f"--month {month} has no closed day yet: the last one is {as_of}.")
    before_first = (first - timedelta(days=1)).replace(day=1)
    # of a month that is under way, the same days of the month before
    before_end = first if end == asked.end.date() else min(first, before_first + (end - first))
    return Period(window=_known(first, end, first_known), before=Window.of_days(before_first, before_end))


def _known(first: date, end: date, first_known: date | None) -> Window:
    """The days from the first known one; all of them where none of them is known."""
    return Window.of_days(first if first_known is None or first_known >= end else max(first, first_known), end)
