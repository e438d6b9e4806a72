"""A few days of the year, and that its judge would notice. The whole of it: `python -m usage_pipeline_tests.year`."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from usage_pipeline_tests.world import World, last_days
from usage_pipeline_tests.year.judge import differing

pytestmark = pytest.mark.slow


def test_days_of_faults_outage_and_kills_end_right() -> None:
    """With a third of the requests failing, an outage, a host that was off and a killed run, all served days are fresh.

    In a process of its own, for it forks.
    """
    options = ["--small", "--days", "6", "--seed", "168", "--failing", "0.3"]
    command = [sys.executable, "-m", "usage_pipeline_tests.year", *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("1 killed", "not begun: the host was off", "in outages", "(100.00%)"):
        assert what in done.stdout, done.stdout


def test_the_judge_notices_a_day_that_is_not_what_was_said(world: World, data_dir: Path) -> None:
    """Rows are compared one by one: what the service said at another time is not what is published."""
    settings, now = world.settings(data_dir), world.clock()
    assert not world.sync(settings, last_days(3), ["completions"]).failed
    day = now.date() - timedelta(days=1)

    def wrong(moments_ago: timedelta) -> list[str]:
        return differing(settings, world.organization, world.clock, {("completions", day): now - moments_ago})

    assert wrong(timedelta(0)) == []
    assert len(wrong(timedelta(hours=15, minutes=30))) == 1  # some of the day's usage was not known yet
