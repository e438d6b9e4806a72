"""Windows too long for memory: stored a day at a time, and still all or nothing where the reading fails."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from usage_pipeline.api.client import UsageClient
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.store import Lake
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.windows import DAY_SECONDS, Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.scripted import completion
from usage_pipeline_tests.world import everything, rows

pytestmark = pytest.mark.marts("usage_daily")

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
WINDOW = Window.of_times(FIRST, FIRST + 4 * DAY_SECONDS)
MINUTES = "USAGE_PIPELINE_BUCKET_WIDTH"


class _Days(Played):
    """Four days of minutes, most of them quiet, read by a client of which little fits into memory."""

    most_rows = 3
    broken_from: int | None = None

    def __init__(self) -> None:
        super().__init__(NOW)
        for place in range(4 * 6):
            start = FIRST + place * DAY_SECONDS // 6
            self.put("completions", start, completion(model="a", input_tokens=place), completion(model="b"))

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.broken_from is not None and int(request.url.params["start_time"]) >= self.broken_from:
            return httpx.Response(200, content=b'{"object":"page","data":null,"has_more":false}')
        return super().handle(request)

    def client(self, settings: Settings) -> UsageClient:
        return UsageClient(
            base_url=settings.base_url,
            key=settings.require_key(),
            transport=httpx.MockTransport(self.handle),
            clock=lambda: self.now,
            most_rows=self.most_rows,
        )


def test_a_long_window_is_stored_day_by_day_as_it_would_be_whole(tmp_path: Path) -> None:
    """Days by themselves give the tables that one write gives, with a raw file, a coverage row and a request each."""
    service = _Days()
    parted, whole = (played_settings(tmp_path / name, **{MINUTES: "1m"}) for name in ("parted", "whole"))
    done = service.sync(parted, WINDOW, "completions").endpoints[0]
    service.most_rows = 10**6
    service.sync(whole, WINDOW, "completions")
    assert everything(parted) == everything(whole)
    assert len(list(landed_files(parted.raw_dir))) == len(done.rows) == 4
    assert [row["requests"] for row in done.rows] == [1] * 4
    assert [(row["window_start"].day, row["window_end"].day) for row in done.rows] == [
        (n, n + 1) for n in range(16, 20)
    ]
    again = service.sync(parted, WINDOW, "completions")
    assert {one.outcome for one in again.endpoints} == {"unchanged"}


def test_a_failure_in_the_last_day_leaves_all_days_as_they_were(tmp_path: Path) -> None:
    """Nothing is written before the whole window is read and proven."""
    service, settings = _Days(), played_settings(tmp_path, **{MINUTES: "1m"})
    service.broken_from = FIRST + 3 * DAY_SECONDS
    report = sync(settings, choose_endpoints(["completions"]), WINDOW, clock=lambda: NOW, client_factory=service.client)
    assert "data: " in str(report.endpoints[0].error)
    assert not list(landed_files(settings.raw_dir))
    assert not Lake(settings.lake_dir).usage(ENDPOINTS["completions"]).path.exists()


def test_days_stored_by_themselves_replay_to_the_same(tmp_path: Path) -> None:
    """The raw files of the days give the same tables again."""
    service, settings = _Days(), played_settings(tmp_path, **{MINUTES: "1m"})
    service.sync(settings, WINDOW, "completions")
    before = everything(settings)
    assert replay(settings).files == 4
    assert everything(settings) == before


def test_days_of_two_bucket_widths_in_one_month_are_published(tmp_path: Path) -> None:
    """A day of another width, in a storage partition of its own, is not taken for one that was lost."""
    service = _Days()
    minutes, days = (played_settings(tmp_path, **{MINUTES: width}) for width in ("1m", "1d"))
    service.sync(minutes, Window.of_times(FIRST, FIRST + DAY_SECONDS), "completions")
    for place in range(1, 3):
        start = FIRST + place * DAY_SECONDS
        report = service.sync(days, Window.of_times(start, start + DAY_SECONDS), "completions")
        assert report.refresh_error is None
        service.now += timedelta(minutes=1)
    found = rows(days, "select bucket_width, count(*)::int from usage.completions group by all order by all")
    assert found == [("1d", 4), ("1m", 12)]


@pytest.mark.slow
def test_a_very_long_window_is_logged_on_the_way(tmp_path: Path) -> None:
    """The coverage log is written before more commits have gone by than are looked through after a kill."""
    service, settings = _Days(), played_settings(tmp_path, **{MINUTES: "1m"})
    first = FIRST - 18 * DAY_SECONDS
    for place in range(18):
        service.put("completions", first + place * DAY_SECONDS, completion(model="a"), completion(model="b"))
    done = service.sync(settings, Window.of_times(first, FIRST + 4 * DAY_SECONDS), "completions").endpoints[0]
    assert len(done.rows) == 22
    assert rows(settings, "select count(*)::int, count(distinct commit_id)::int from meta.sync_log") == [(22, 22)]
    log = Lake(settings.lake_dir).sync_log.open()
    assert log is not None
    assert [commit["operation"] for commit in log.history()].count("WRITE") == 3  # 10, 10 and 2 rows
