"""Windows: half-open, UTC, and how they divide."""

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline.errors import FixConfig
from usage_pipeline.windows import Window, day_runs, parse_day

DAYS = st.dates(date(2020, 1, 1), date(2030, 12, 31))


def test_a_window_refuses_times_that_are_not_utc() -> None:
    """A naive time or another zone's is refused, for it would name other buckets."""
    aware = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="UTC"):
        Window(datetime(2026, 1, 1), aware)  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match="UTC"):
        Window(aware, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))))


def test_an_empty_window_is_refused_with_the_days_named() -> None:
    """A window whose end is not after its start says so in the user's terms."""
    with pytest.raises(FixConfig, match=r"2026-03-02\.\.2026-03-02 is empty"):
        Window.of_days(date(2026, 3, 2), date(2026, 3, 2))


@given(DAYS, st.integers(1, 400), st.integers(1, 180))
def test_pages_cover_the_window_once_with_the_fewest_requests(first: date, days: int, per_page: int) -> None:
    """Sub-windows join end to start, cover the window, and are as few as the page size allows."""
    window = Window.of_days(first, first + timedelta(days=days))
    pages = list(window.pages("1d", per_page))
    assert pages[0].start == window.start
    assert pages[-1].end == window.end
    assert all(a.end == b.start for a, b in pairwise(pages))
    assert len(pages) == -(-days // per_page)


@given(st.sets(DAYS, max_size=40))
def test_runs_of_days_hold_exactly_the_days(days: set[date]) -> None:
    """Runs hold each day once, none touches the next, and nothing else is in them."""
    runs = day_runs(list(days))
    assert [day for run in runs for day in run.dates()] == sorted(days)
    assert all(a.end < b.start for a, b in pairwise(runs))


@pytest.mark.parametrize("day", [date(2024, 2, 29), date(2026, 12, 31), date(2026, 3, 8), date(2026, 10, 25)])
def test_a_utc_day_has_24_hours_whatever_the_calendar_does(day: date) -> None:
    """Leap days, year ends and days on which local clocks change are days of 24 hours and 1440 minutes."""
    window = Window.of_days(day, day + timedelta(days=1))
    assert len(window.bucket_starts("1h")) == 24
    assert len(window.bucket_starts("1m")) == 1440
    assert window.dates() == [day]


def test_a_day_in_another_form_is_refused_with_the_form_to_use() -> None:
    """A day that is not YYYY-MM-DD gets the form and an example."""
    with pytest.raises(FixConfig, match="'03/11/2026' is not a day: write it as YYYY-MM-DD"):
        parse_day("03/11/2026")
