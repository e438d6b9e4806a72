"""One asset per mart, and the published warehouse after them.

Put what their steps do and report here; which marts there are is decided by the .sql files in marts/.
"""

import dagster as dg

from usage_pipeline.defs.columns import mart_columns
from usage_pipeline.defs.partitions import asset_window, dim_key, mart_key, usage_key
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.build import mart_rows
from usage_pipeline.marts.registry import Mart, load_marts

WAREHOUSE_KEY = dg.AssetKey(["warehouse"])


def mart_assets(partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of all marts."""
    return [_mart_asset(mart, partitions) for mart in load_marts().values()]


def _mart_asset(mart: Mart, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    key = mart_key(mart.name)

    @dg.asset(
        key=key,
        group_name="marts",
        description=mart.description,
        kinds={"sql", "deltalake"},
        metadata={
            "dagster/column_schema": mart_columns(mart.name),
            "dagster/table_name": f"marts.{mart.name}",
            "grain": dg.MetadataValue.json(list(mart.grain)),
        },
        deps=[
            *map(usage_key, sorted(mart.endpoints)),
            *map(dim_key, sorted(mart.lists)),
            *map(mart_key, sorted(mart.marts)),
        ],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={SESSION},
    )
    def build(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, key.to_user_string()) as report:
            window = asset_window(context)
            report.facts = {"mart": mart.name, "window": str(window)}
            built = session.build(mart.name)
            report.outcome, report.rows = ("built" if built.days else "unchanged"), built.rows
            rows = mart_rows(Lake(session.settings.lake_dir), mart.name, session.settings.organization, window)
            for day in window.dates():
                facts = {"dagster/partition_row_count": rows.get(day, 0)}
                context.add_asset_metadata(facts, partition_key=day.isoformat())
            return dg.MaterializeResult(
                metadata={"window": str(window), "days_computed": len(built.days), "rows_computed": built.rows}
            )

    return build


def warehouse_asset(partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """The published file. It has the days as partitions too, for else a backfill would need a second run for it."""

    @dg.asset(
        key=WAREHOUSE_KEY,
        group_name="warehouse",
        description="The DuckDB file people query: views of one consistent version of usage, marts and meta.",
        kinds={"duckdb"},
        deps=[mart_key(name) for name in load_marts()],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={SESSION},
    )
    def warehouse(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, WAREHOUSE_KEY.to_user_string()) as report:
            path = session.publish().path
            report.outcome = "published"
            return dg.MaterializeResult(
                metadata={"path": dg.MetadataValue.path(path.resolve()), "bytes": path.stat().st_size}
            )

    return warehouse
