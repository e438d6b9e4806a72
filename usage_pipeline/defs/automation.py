"""The job and its schedule: what runs daily, over which days.

Put choices of when and over what here; which days are due is decided by plan.py.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import dagster as dg

from usage_pipeline.defs.partitions import ORGANIZATION_TAG, range_tags
from usage_pipeline.defs.upkeep_asset import MAINTENANCE_KEY
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.organizations import Organizations
from usage_pipeline.plan import due_days
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_start

SYNC_JOB = "sync_usage"
DAILY_SYNC = "daily_sync"
# Off the full hour, when every other daily job asks. The first is the day's run (bills of the day before are some eight
# hours behind; the lookback brings what is later). The others do nothing where it succeeded; where it failed, was
# killed, or the host was off, they try again, later each time: an outage ends in hours, a wrong key does not.
HOURS = (3, 4, 6, 10, 16, 22)
_MINUTE = 15
_CRON = f"{_MINUTE} {','.join(map(str, HOURS))} * * *"
_SCHEDULE_TAG = "dagster/schedule_name"  # put on its runs, and on their retries, by Dagster


def automation(read: Callable[[], Organizations], clock: Callable[[], datetime]) -> dg.Definitions:
    """The job over everything, and its daily schedule: one successful run a day, from the earliest due day to today.

    Where there are several organizations each has a run of its own, so that what fails is one's.

    The schedule is stopped until someone turns it on (once; the choice is kept): opening the UI over a copy of the
    data, or over the demo's, must not begin to call the service by itself.
    """
    sync_usage = dg.define_asset_job(
        SYNC_JOB,
        selection=dg.AssetSelection.all() - dg.AssetSelection.assets(MAINTENANCE_KEY),
        description="Read every endpoint's days, bring the marts up to date, publish the warehouse, write the report.",
    )

    @dg.schedule(
        name=DAILY_SYNC,
        job=sync_usage,
        cron_schedule=_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Daily: re-read the lookback, and every day missed before it, in one run; again until it succeeds.",
    )
    def daily_sync(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now, organizations = clock(), read()
        wanted, reasons = [], []
        for one in organizations.members:
            label = one.organization if organizations.are_several else None
            if (reason := _needless(context.instance, now, label)) is not None:
                reasons.append(reason)
            else:
                wanted.append((one, label))
        if not wanted:
            return dg.SkipReason(" ".join(dict.fromkeys(reasons)))
        log = CoverageLog(Lake.of(organizations.folder))
        # Of several requests Dagster wants keys, by which a tick that was killed does not ask twice.
        return [
            dg.RunRequest(
                run_key=None if label is None else f"{label} {context.scheduled_execution_time.isoformat()}",
                tags=range_tags(due_window(one, now, log), label),
            )
            for one, label in wanted
        ]

    return dg.Definitions(jobs=[sync_usage], schedules=[daily_sync])


def schedules_of(day: date) -> list[datetime]:
    """The moments of a day at which the schedule looks, the first of which begins the day's work."""
    return [day_start(day) + timedelta(hours=hour, minutes=_MINUTE) for hour in HOURS]


def _needless(instance: dg.DagsterInstance, now: datetime, organization: str | None) -> str | None:
    """Why no run (of one of several organizations) is to begin: the day's is done or under way."""
    first = schedules_of(now.date())[0]
    began = first if first <= now else first - timedelta(days=1)
    tags = {_SCHEDULE_TAG: DAILY_SYNC} | ({} if organization is None else {ORGANIZATION_TAG: organization})
    runs = instance.get_runs(dg.RunsFilter(job_name=SYNC_JOB, tags=tags, created_after=began))
    if any(run.status == dg.DagsterRunStatus.SUCCESS for run in runs):
        return f"the run since {began:%Y-%m-%d %H:%M} UTC succeeded."
    if any(not run.is_finished for run in runs):
        return f"the run since {began:%Y-%m-%d %H:%M} UTC is under way."
    return None


def due_window(settings: Settings, now: datetime, log: CoverageLog | None = None) -> Window:
    """From the earliest day that any endpoint has due, or the start of the lookback, to today."""
    log, today = log or CoverageLog(Lake.of(settings)), now.date()
    due = [day for endpoint in ENDPOINTS.values() for day in due_days(settings, log, endpoint, now)]
    first = max(settings.first_day(today), today - timedelta(days=settings.lookback_days))
    return Window.of_days(min([first, *due]), today + timedelta(days=1))
