"""The daily schedule asks for one run over what is due."""

from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from usage_pipeline.defs.automation import DAILY_SYNC, SYNC_JOB
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.world import TODAY, World, last_days

pytestmark = pytest.mark.marts("cost_daily")


def _ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def _tick(settings: Settings, now: datetime, *runs: dg.DagsterRun) -> ScheduleExecutionData:
    """What the schedule says at a moment, after these runs on its instance."""
    defs = build_defs(lambda: settings, clock=lambda: now)
    schedule = defs.resolve_schedule_def(DAILY_SYNC)
    with dg.DagsterInstance.from_config(str(prepare_home(settings.data_dir))) as instance:
        for run in runs:
            instance.add_run(run)
        return schedule.evaluate_tick(
            dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def())
        )


def _asked(world: World, settings: Settings) -> dict[str, str]:
    """The partitions the schedule asks for, of its one run."""
    (request,) = _tick(settings, world.clock()).run_requests or []
    tags = {name.removeprefix("dagster/asset_partition_range_"): value for name, value in request.tags.items()}
    return {name: tags[name] for name in ("start", "end")}


@pytest.mark.slow
def test_it_re_reads_the_lookback_in_one_run(world: World, data_dir: Path) -> None:
    """Where all days are known it asks for the lookback and today, as one range."""
    settings = world.settings(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="3")
    world.sync(settings, last_days(20))
    assert _asked(world, settings) == {"start": _ago(3).isoformat(), "end": TODAY.isoformat()}


@pytest.mark.slow
def test_it_catches_up_after_days_off(world: World, data_dir: Path) -> None:
    """After the host was off, it begins at the first day not read, or read while it could still change."""
    settings = world.settings(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="3")
    world.sync(settings, last_days(20))
    world.clock.advance(timedelta(days=6))
    assert _asked(world, settings) == {"start": _ago(2).isoformat(), "end": _ago(-6).isoformat()}


def test_the_first_run_asks_for_all_history(world: World, data_dir: Path) -> None:
    """With nothing read yet everything from the first day on is due."""
    asked = _asked(world, world.settings(data_dir))
    assert asked == {"start": "2026-11-01", "end": TODAY.isoformat()}


def test_nobody_is_called_before_it_is_turned_on(settings: Settings) -> None:
    """The schedule is there, in UTC, and stopped until someone turns it on."""
    schedule = build_defs(lambda: settings).resolve_schedule_def("daily_sync")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 3,4,6,10,16,22 * * *", "UTC")


DONE = {dg.DagsterRunStatus.SUCCESS: "succeeded", dg.DagsterRunStatus.STARTED: "is under way"}


@pytest.mark.parametrize("status", DONE, ids=lambda status: status.value)
def test_a_day_that_is_done_or_under_way_is_left_alone(settings: Settings, status: dg.DagsterRunStatus) -> None:
    """The day's other ticks begin no run, and say why, where one succeeded or still works; the next day's does."""
    now = utc_now()
    tick = _tick(settings, now, _run(status))
    assert (tick.run_requests or [], DONE[status] in (tick.skip_message or "")) == ([], True)
    assert len(_tick(settings, now + timedelta(days=1)).run_requests or []) == 1


@pytest.mark.parametrize(
    "run",
    [
        pytest.param((dg.DagsterRunStatus.FAILURE, DAILY_SYNC), id="failed or killed"),
        pytest.param((dg.DagsterRunStatus.SUCCESS, None), id="begun by hand, over whatever days"),
    ],
)
def test_a_day_that_is_not_done_is_tried_again(settings: Settings, run: tuple[dg.DagsterRunStatus, str | None]) -> None:
    """Where the day's run failed, or another is no evidence that its days were read, the next tick begins one."""
    assert len(_tick(settings, utc_now(), _run(*run)).run_requests or []) == 1


def _run(status: dg.DagsterRunStatus, schedule: str | None = DAILY_SYNC) -> dg.DagsterRun:
    """A run of the job, begun now."""
    return dg.DagsterRun(job_name=SYNC_JOB, status=status, tags={"dagster/schedule_name": schedule} if schedule else {})
