"""One asset per mart, and the published warehouse after them.

Put what their steps do and report here; which marts there are is decided by the .sql files in marts/.
"""

import re
from collections import defaultdict
from datetime import date
from decimal import Decimal

import dagster as dg

from usage_pipeline.defs.columns import COLUMN_LINEAGE, OWNERS, mart_columns, mart_lineage
from usage_pipeline.defs.partitions import (
    Spread,
    asset_window,
    dim_key,
    mart_key,
    partition_key,
    tell_newest,
    usage_key,
)
from usage_pipeline.defs.pictures import DAYS_SHOWN, day_bars
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.lake.query import ask
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.registry import Mart, load_marts
from usage_pipeline.marts.tables import mart_rows
from usage_pipeline.settings import Settings

_CURRENCY = re.compile(r"[a-z]{3}\Z")
_BILLED = """
select currency, date, sum(amount) as amount from marts.cost_daily
where organization = $organization
    and date > (select max(date) from marts.cost_daily where organization = $organization) - $days::int
group by all
"""
WAREHOUSE_KEY = dg.AssetKey(["warehouse"])


def mart_assets(spread: Spread) -> list[dg.AssetsDefinition]:
    """The assets of all marts."""
    return [_mart_asset(mart, spread) for mart in load_marts().values()]


def _mart_asset(mart: Mart, spread: Spread) -> dg.AssetsDefinition:
    key = mart_key(mart.name)

    @dg.asset(
        key=key,
        group_name="marts",
        description=mart.description,
        owners=OWNERS,
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
        partitions_def=spread.partitions,
        backfill_policy=spread.policy,
        required_resource_keys={SESSION},
    )
    def build(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, key.to_user_string()) as report:
            window = asset_window(context)
            report.facts = {"mart": mart.name, "window": str(window)}
            built = session.build(mart.name)
            report.outcome, report.rows = ("built" if built.days else "unchanged"), built.rows
            for one in session.members:
                rows = mart_rows(Lake.of(one), mart.name, one.organization, window)
                for day in window.dates():
                    counted = {"dagster/partition_row_count": rows.get(day, 0)}
                    context.add_asset_metadata(counted, partition_key=partition_key(one, day))
                drawn = {"rows": day_bars(rows, "rows a day")} if rows else {}
                tell_newest(context, one, window, {COLUMN_LINEAGE: mart_lineage(mart.name), **drawn})
            return dg.MaterializeResult(
                metadata={"window": str(window), "days_computed": len(built.days), "rows_computed": built.rows}
            )

    return build


def warehouse_asset(spread: Spread) -> dg.AssetsDefinition:
    """The published file. It has the days as partitions too, for else a backfill would need a second run for it."""

    @dg.asset(
        key=WAREHOUSE_KEY,
        group_name="report",
        description="The DuckDB file people query: views of one consistent version of usage, marts and meta.",
        owners=OWNERS,
        kinds={"duckdb"},
        deps=[mart_key(name) for name in load_marts()],
        partitions_def=spread.partitions,
        backfill_policy=spread.policy,
        required_resource_keys={SESSION},
    )
    def warehouse(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, WAREHOUSE_KEY.to_user_string()) as report:
            path = session.publish().path
            report.outcome = "published"
            for one in session.members:
                tell_newest(context, one, asset_window(context), _billed(one))
            return dg.MaterializeResult(
                metadata={"path": dg.MetadataValue.path(path.resolve()), "bytes": path.stat().st_size}
            )

    return warehouse


def _billed(settings: Settings) -> dict[str, dg.MetadataValue]:
    """What the newest days cost, drawn per currency; nothing where that mart is none of this pipeline's."""
    if "cost_daily" not in load_marts():
        return {}
    asked = {"organization": settings.organization, "days": DAYS_SHOWN}
    with ask(settings.warehouse_path, settings.lake_dir, _BILLED, asked) as answer:
        found: dict[str, dict[date, Decimal]] = defaultdict(dict)
        for currency, day, amount in answer.rows:
            found[currency][day] = amount
    # A currency is upstream's text: as it is only where it is what currencies are.
    return {
        f"billed_{code}": day_bars(days, f"{code.upper()} a day")
        for code, days in found.items()
        if _CURRENCY.match(code)
    }
