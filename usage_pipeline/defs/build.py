"""Everything Dagster sees, assembled from the endpoint table, the marts' files and the settings.

Put assembly here and nothing else. Settings are read when definitions are built (for the first partition) and again
when a run needs them; they are in no resource field, config or metadata, for Dagster stores those.
"""

import warnings
from collections.abc import Callable
from datetime import datetime

import dagster as dg

from usage_pipeline.defs.alerts import alerts
from usage_pipeline.defs.automation import automation
from usage_pipeline.defs.breach_checks import breach_checks
from usage_pipeline.defs.budget import client_factory_of, pool_of
from usage_pipeline.defs.checks import costs_check
from usage_pipeline.defs.dim_assets import dim_assets
from usage_pipeline.defs.executors import executor_of
from usage_pipeline.defs.mart_assets import mart_assets, warehouse_asset
from usage_pipeline.defs.mart_checks import mart_checks
from usage_pipeline.defs.partitions import spread_of
from usage_pipeline.defs.report_asset import report_assets
from usage_pipeline.defs.session import SESSION, OnEvent, session_resource
from usage_pipeline.defs.upkeep_asset import upkeep
from usage_pipeline.defs.usage_assets import RAW, usage_assets
from usage_pipeline.organizations import Organizations
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory
from usage_pipeline.windows import utc_now


def build_defs(
    settings: Callable[[], Settings] | None = None,
    *,
    organizations: Callable[[], Organizations] = Organizations.from_env,
    client_factory: ClientFactory | None = None,
    clock: Callable[[], datetime] = utc_now,
    on_event: OnEvent | None = None,
) -> dg.Definitions:
    """The definitions.

    Args:
        settings: Reads the settings of the only organization; called anew by every run.
        organizations: In its place, reads those of all; each is shown as a partition where there are several.
        client_factory: Makes the client of the service, in place of one that keeps to the budget all share.
        clock: The present UTC time.
        on_event: Told as each step ends, in the process that runs the steps.

    Raises:
        FixConfig: the settings are wrong.
    """
    read = organizations if settings is None else lambda: Organizations((settings(),))
    held, today = read(), clock().date()
    executor = held.folder.require_executor()
    pool, client_factory = pool_of(executor), client_factory or client_factory_of(executor)
    first = min(one.first_day(today) for one in held.members)
    labels = held.labels if held.are_several else None
    with warnings.catch_warnings():
        # Called beta by Dagster 1.13, whose version is pinned; 34 lines of it would drown the services' logs.
        warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")
        spread = spread_of(first, labels, is_shared=executor != "in_process")
        assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
            RAW,
            *usage_assets(spread, pool),
            *dim_assets(spread, client_factory, pool),
            *mart_assets(spread),
            warehouse_asset(spread),
            *report_assets(spread),
        ]
    defs = dg.Definitions(
        assets=assets,
        asset_checks=[costs_check(), *breach_checks(), *mart_checks()],
        resources={SESSION: session_resource(read, client_factory, clock, on_event)},
        executor=executor_of(executor),
    )
    is_on = held.folder.webhook_url is not None
    return dg.Definitions.merge(defs, automation(read, clock), alerts(read, is_on=is_on), upkeep())
