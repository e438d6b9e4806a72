"""Running the real job from Python, as the demo does."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.cli.ui import environment
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.run import run_sync_job
from usage_pipeline.defs.session import StepNews
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.name_lists import LISTS
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.dagster.stage import Stage, impatient, recent
from usage_pipeline_tests.world import rows

pytestmark = [pytest.mark.slow, pytest.mark.marts("cost_daily")]

_INTERRUPTED = """
import sys
from datetime import date
from usage_pipeline.defs.run import run_sync_job
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
try:
    run_sync_job(Settings.from_env(), Window.of_days(date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2])))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_it_runs_silently_and_tells_a_listener(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed; the listener hears of every asset; the run can be seen on the instance afterwards."""
    news: list[StepNews] = []
    result = run_sync_job(stage.settings, recent(2), on_event=news.append, client_factory=impatient(stage.world))
    assert (result.is_success, result.failures) == (True, {})
    assert capfd.readouterr() == ("", "")
    expected = {f"usage/{name}" for name in ENDPOINTS} | {f"marts/{name}" for name in load_marts()} | {"warehouse"}
    expected |= {f"dims/{name}" for name in LISTS}
    assert {one.asset for one in news} >= expected
    assert next(one.rows for one in news if one.asset == "usage/completions") > 0
    run = stage.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS


def test_it_says_what_failed(stage: Stage) -> None:
    """A failed endpoint is in the result by its asset's name, with its line; so are checks that do not hold."""
    stage.gate.status["images"] = 400
    old = utc_now().date() - timedelta(days=9)
    window = Window.of_days(old, old + timedelta(days=1))
    result = run_sync_job(stage.settings, window, client_factory=impatient(stage.world))
    assert not result.is_success
    assert set(result.failures) == {"usage/images"}
    assert result.failures["usage/images"].startswith("images ")
    assert ("usage/embeddings", "freshness", True) in {(one.asset, one.name, one.is_warning) for one in result.checks}


def test_days_outside_the_partitions_are_refused(stage: Stage) -> None:
    """Days before the first or after today are refused with the setting to change, before anything runs."""
    tomorrow = utc_now().date() + timedelta(days=1)
    with pytest.raises(FixConfig, match="USAGE_PIPELINE_START_DATE"):
        run_sync_job(stage.settings, Window.of_days(tomorrow, tomorrow + timedelta(days=1)))
    with pytest.raises(FixConfig, match="USAGE_PIPELINE_START_DATE"):
        run_sync_job(stage.settings, recent(90))


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_it_soon_with_nothing_half_written(stage: Stage, data_dir: Path, sent: int) -> None:
    """Stopped while it waits for answers, it ends in ten seconds, and a later run completes."""
    stage.gate.delay_seconds = 60.0
    window = recent(2)
    env = {**os.environ, **environment(stage.settings)}
    command = [sys.executable, "-c", _INTERRUPTED, window.start.date().isoformat(), window.end.date().isoformat()]
    child = subprocess.Popen(command, env=env)
    give_up_at = time.monotonic() + 60
    while len(stage.gate.seen) < 8 and time.monotonic() < give_up_at:
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(sent)
    began = time.monotonic()
    assert child.wait(timeout=30) == 130
    assert time.monotonic() - began < 10
    with dg.DagsterInstance.from_config(str(prepare_home(data_dir))) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert not (stage.settings.lake_dir / "usage").exists()
    stage.gate.delay_seconds = 0.0
    assert run_sync_job(stage.settings, window, client_factory=impatient(stage.world)).is_success
    assert rows(stage.settings, "select count(distinct endpoint) from meta.coverage") == [(len(ENDPOINTS),)]
