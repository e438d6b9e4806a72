"""Upkeep of the stored tables: an asset of no days, its job, and a weekly schedule.

Put what the step does and reports here; what upkeep is, is usage_pipeline/upkeep.py's.
"""

import dagster as dg

from usage_pipeline.defs.columns import OWNERS
from usage_pipeline.defs.mart_assets import WAREHOUSE_KEY
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.lake.compaction import KEPT_DAYS
from usage_pipeline.upkeep import maintain

MAINTENANCE_KEY = dg.AssetKey(["maintenance"])
MAINTAIN_JOB = "maintain_lake"
WEEKLY_MAINTENANCE = "weekly_maintenance"
_CRON = "45 13 * * 0"  # between two of the daily schedule's hours, when little is under way


@dg.asset(
    key=MAINTENANCE_KEY,
    group_name="report",
    description=f"Small files joined; files removed that were superseded more than {KEPT_DAYS} days ago. Data stays.",
    owners=OWNERS,
    kinds={"deltalake"},
    deps=[WAREHOUSE_KEY],
    required_resource_keys={SESSION},
)
def maintenance(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One upkeep."""
    session = session_of(context)
    with session.step(context, MAINTENANCE_KEY.to_user_string()) as told:
        done = maintain(session.settings)
        told.outcome = "maintained"
        return dg.MaterializeResult(
            metadata={
                "files_fewer_to_read": done.joined,
                "files_removed": done.removed,
                "freed_bytes": done.freed_bytes,
                "superseded_files_kept_days": KEPT_DAYS,
            }
        )


def upkeep() -> dg.Definitions:
    """The asset, its job and its schedule, which is stopped until someone turns it on."""
    job = dg.define_asset_job(
        MAINTAIN_JOB,
        selection=dg.AssetSelection.assets(MAINTENANCE_KEY),
        description="Join small files and remove superseded ones; what the warehouse says stays as it is.",
    )
    weekly = dg.ScheduleDefinition(
        name=WEEKLY_MAINTENANCE,
        job=job,
        cron_schedule=_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Weekly: join small files, remove superseded ones.",
    )
    return dg.Definitions(assets=[maintenance], jobs=[job], schedules=[weekly])
