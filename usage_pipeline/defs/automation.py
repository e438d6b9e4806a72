"""The job and its schedule: what runs daily, over which days.

Put choices of when and over what here; which days are due is decided by plan.py.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg

from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.store import Lake
from usage_pipeline.plan import due_days
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window

SYNC_JOB = "sync_usage"
# Bills of the day before are some eight hours behind; the lookback brings what is later. Off the full hour, when
# every other daily job asks.
_CRON = "15 3 * * *"


def automation(read_settings: Callable[[], Settings], clock: Callable[[], datetime]) -> dg.Definitions:
    """The job over everything, and its daily schedule: one run from the earliest due day to today.

    The schedule is stopped until someone turns it on (once; the choice is kept): opening the UI over a copy of the
    data, or over the demo's, must not begin to call the service by itself.
    """
    sync_usage = dg.define_asset_job(
        SYNC_JOB,
        selection=dg.AssetSelection.all(),
        description="Read every endpoint's days, bring the marts up to date, publish the warehouse.",
    )

    @dg.schedule(
        name="daily_sync",
        job=sync_usage,
        cron_schedule=_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Daily: re-read the lookback, and every day missed before it, in one run.",
    )
    def daily_sync() -> dg.RunRequest:
        return dg.RunRequest(tags=range_tags(due_window(read_settings(), clock())))

    return dg.Definitions(jobs=[sync_usage], schedules=[daily_sync])


def due_window(settings: Settings, now: datetime) -> Window:
    """From the earliest day that any endpoint has due, or the start of the lookback, to today."""
    lake, today = Lake(settings.lake_dir), now.date()
    due = [day for endpoint in ENDPOINTS.values() for day in due_days(settings, lake, endpoint, now)]
    first = max(settings.first_day(today), today - timedelta(days=settings.lookback_days))
    return Window.of_days(min([first, *due]), today + timedelta(days=1))
