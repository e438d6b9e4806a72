"""Upkeep as an asset: its run, what it tells, and its schedule."""

import dagster as dg
import pytest

from usage_pipeline.defs.upkeep_asset import MAINTAIN_JOB, WEEKLY_MAINTENANCE
from usage_pipeline_tests.dagster.stage import SILENT, Stage, failures, recent, values
from usage_pipeline_tests.world import everything

pytestmark = pytest.mark.marts("cost_daily")


def test_the_weekly_run_tells_what_it_did_and_changes_no_answer(stage: Stage) -> None:
    """The asset says how many files fewer there are and what was removed; on fresh data that is nothing."""
    stage.world.sync(stage.settings, recent(3), ["costs"])
    before = everything(stage.settings)
    job = stage.defs().resolve_job_def(MAINTAIN_JOB)
    result = job.execute_in_process(instance=stage.instance, run_config=SILENT, raise_on_error=False)
    assert result.success, failures(result)
    event = stage.instance.get_latest_materialization_event(dg.AssetKey("maintenance"))
    assert event is not None
    assert event.asset_materialization is not None
    assert values(event.asset_materialization.metadata) == {
        "files_fewer_to_read": 0,
        "files_removed": 0,
        "freed_bytes": 0,
        "superseded_files_kept_days": 7,
    }
    assert everything(stage.settings) == before


def test_nothing_is_kept_up_before_someone_asks(stage: Stage) -> None:
    """The weekly schedule is stopped until it is turned on, and is of this job alone."""
    schedule = stage.defs().resolve_schedule_def(WEEKLY_MAINTENANCE)
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.job_name, schedule.cron_schedule) == (MAINTAIN_JOB, "45 13 * * 0")
