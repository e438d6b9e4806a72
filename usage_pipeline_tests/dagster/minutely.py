"""The product's definitions, with a schedule that looks every minute and runs the job once when it is asked to.

Put nothing else here: it is what the daemon loads in kills.py, in place of waiting for 03:15. Asked by a file `tick` in
the data folder.
"""

import dagster as dg

from usage_pipeline.defs.automation import SYNC_JOB, due_window
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now

TICK = "tick"


@dg.schedule(
    name="next_minute",
    job_name=SYNC_JOB,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def next_minute() -> dg.RunRequest | dg.SkipReason:
    """As `daily_sync`, at the next minute."""
    settings = Settings.from_env()
    asked = settings.data_dir / TICK
    if not asked.exists():
        return dg.SkipReason("nobody asked")
    asked.unlink()
    return dg.RunRequest(tags=range_tags(due_window(settings, utc_now())))


@dg.definitions
def defs() -> dg.Definitions:
    """The pipeline's, and the schedule."""
    return dg.Definitions.merge(build_defs(), dg.Definitions(schedules=[next_minute]))
