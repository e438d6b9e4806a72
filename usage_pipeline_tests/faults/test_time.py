"""Time the host sees otherwise: another zone, clocks that change, midnight in the middle of a sync."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline_tests.faults.zoned import published
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import rows


@pytest.mark.parametrize(
    ("zone", "hours"), [("America/New_York", -5), pytest.param("Pacific/Apia", 14, marks=pytest.mark.slow)]
)
def test_d07_a_host_in_any_zone_publishes_the_same(zone: str, hours: int, tmp_path: Path) -> None:
    """Around a change of the clocks in New York and in Apia, hosts there publish the rows and hashes this one does."""
    expected = published(tmp_path / "here", zone)
    assert [row[0] for row in expected["meta.coverage"]] == ["completions"] * 3 + ["costs"] * 3
    command = [sys.executable, "-m", "usage_pipeline_tests.faults.zoned", str(tmp_path / "there"), zone]
    env = {**os.environ, "TZ": zone, "PYTHONPATH": str(Path(__file__).parents[2])}
    there = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert there.returncode == 0, there.stderr
    told = json.loads(there.stdout)
    if told["hours"] != hours:
        pytest.skip(f"this machine does not know the zone {zone}")
    assert told["published"] == expected


class _PastMidnight(Played):
    """A service whose clock, and the pipeline's, goes on with each request; usage of the day goes on with it."""

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer, and let seconds pass."""
        answer = super().handle(request)
        self.now += timedelta(seconds=7)
        return answer


def _bytes_stored(value: int) -> dict[str, Any]:
    return {"object": "organization.usage.vector_stores.result", "project_id": "p", "usage_bytes": value}


@pytest.mark.marts("usage_daily")
def test_d12_a_sync_over_midnight_reads_the_window_it_began_with(data_dir: Path) -> None:
    """Every endpoint is read up to the day the sync began on, and that day is read again by the next sync."""
    today = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
    service = _PastMidnight(datetime(2026, 11, 20, 23, 59, 30, tzinfo=UTC))
    settings = played_settings(data_dir, USAGE_PIPELINE_START_DATE="2026-11-18", USAGE_PIPELINE_LOOKBACK_DAYS="0")
    service.put("vector_stores", today, _bytes_stored(1))

    def run() -> list[list[str]]:
        report = sync(settings, choose_endpoints(None), clock=lambda: service.now, client_factory=service.client)
        assert not report.failed, [str(one.error) for one in report.failed]
        assert report.refreshed is not None, report.refresh_error
        return [[str(window) for window in one.windows] for one in report.endpoints]

    assert run() == [["2026-11-18..2026-11-21"]] * 12
    assert service.now.day == 21, "midnight did not pass"
    last = "select endpoint, max(date)::varchar from meta.coverage group by all"
    assert {day for _, day in rows(settings, last)} == {"2026-11-20"}
    service.put("vector_stores", today, _bytes_stored(2))
    assert {windows[0] for windows in run()} == {"2026-11-20..2026-11-22"}
    assert rows(settings, "select usage_bytes from usage.vector_stores") == [(2,)]
