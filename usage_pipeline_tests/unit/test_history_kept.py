"""The service keeps about a year: what lies before is left out and said, and what is stored of it stays."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from usage_pipeline.errors import HistoryExceeded
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_start
from usage_pipeline_tests.world import NOW, TODAY, World, last_days, open_world, rows

pytestmark = pytest.mark.marts("usage_daily")

KEPT = 5  # days; a start that lies more than five times 24 hours back is refused
FIRST_KEPT = TODAY - timedelta(days=KEPT - 1)
NAMES = ["embeddings", "costs"]


@pytest.fixture
def forgetful() -> Iterator[World]:
    """The same organization as `world`'s, in the same time, from a service that keeps five days."""
    with open_world(now=NOW, history_days=KEPT) as found:
        yield found


def _days(settings: Settings) -> dict[str, tuple[str, int]]:
    found = rows(settings, "select endpoint, min(date)::varchar, count(*) from meta.coverage group by all")
    return {name: (first, count) for name, first, count in found}


def test_a_window_that_reaches_past_it_is_read_from_the_first_day_kept(forgetful: World, data_dir: Path) -> None:
    """The sync succeeds with the days there are, notes from when on, and asks a handful of requests more."""
    settings = forgetful.settings(data_dir)
    report = forgetful.sync(settings, last_days(40), NAMES)
    assert not report.failed, [str(one.error) for one in report.failed]
    assert _days(settings) == {name: (FIRST_KEPT.isoformat(), KEPT) for name in NAMES}
    for one in report.endpoints:
        assert any(f"before {FIRST_KEPT}" in note for note in one.notes("notes"))
        assert one.total("requests") < 12


def test_what_is_stored_of_the_days_before_stays(world: World, forgetful: World, data_dir: Path) -> None:
    """A backfill over days stored long ago and days still kept changes none of the former."""
    settings = world.settings(data_dir)
    world.sync(settings, last_days(12), NAMES)
    old = f"select * from usage.costs where date < '{FIRST_KEPT}' order by all"
    before = rows(settings, old)
    assert before
    assert not forgetful.sync(forgetful.settings(data_dir), last_days(12), NAMES).failed
    assert rows(settings, old) == before


def test_nothing_but_days_before_is_an_error_with_the_way_out(forgetful: World, data_dir: Path) -> None:
    """Asked for nothing that is kept, the sync fails by name, and writes nothing."""
    settings = forgetful.settings(data_dir)
    long_ago = Window(day_start(TODAY - timedelta(days=60)), day_start(TODAY - timedelta(days=50)))
    (failed,) = forgetful.sync(settings, long_ago, ["costs"]).failed
    assert isinstance(failed.error, HistoryExceeded)
    assert "Choose a later first day" in str(failed.error)
    assert not (settings.lake_dir / "usage").exists()


def test_days_nobody_can_bring_any_more_do_not_stop_the_daily_sync(forgetful: World, data_dir: Path) -> None:
    """A gap older than the service keeps is noted; what else is due is read, each time."""
    settings = forgetful.settings(data_dir, USAGE_PIPELINE_START_DATE="2026-10-01")
    for _ in range(2):
        report = forgetful.sync(settings, None, NAMES)
        assert not report.failed, [str(one.error) for one in report.failed]
        forgetful.clock.advance(timedelta(days=1))
    first = TODAY - timedelta(days=KEPT - 1)
    assert _days(settings) == {name: (first.isoformat(), KEPT + 1) for name in NAMES}
    assert any("older than" in note or "before what" in note for one in report.endpoints for note in one.notes("notes"))
