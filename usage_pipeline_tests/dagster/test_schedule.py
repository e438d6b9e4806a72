"""The daily schedule asks for one run over what is due."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.defs.build import build_defs
from usage_pipeline.settings import Settings
from usage_pipeline_tests.world import TODAY, World, last_days

pytestmark = pytest.mark.marts("cost_daily")


def _ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def _asked(world: World, settings: Settings) -> dict[str, str]:
    """The partitions the schedule asks for, of its one run."""
    defs = build_defs(lambda: settings, clock=world.clock)
    schedule = defs.resolve_schedule_def("daily_sync")
    with dg.DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(
            dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def())
        )
    (request,) = tick.run_requests or []
    tags = {name.removeprefix("dagster/asset_partition_range_"): value for name, value in request.tags.items()}
    return {name: tags[name] for name in ("start", "end")}


def test_it_re_reads_the_lookback_in_one_run(world: World, data_dir: Path) -> None:
    """Where all days are known it asks for the lookback and today, as one range."""
    settings = world.settings(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="3")
    world.sync(settings, last_days(20))
    assert _asked(world, settings) == {"start": _ago(3).isoformat(), "end": TODAY.isoformat()}


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
    """The schedule is there, daily, in UTC, and stopped until someone turns it on."""
    schedule = build_defs(lambda: settings).resolve_schedule_def("daily_sync")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 3 * * *", "UTC")
