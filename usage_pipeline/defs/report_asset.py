"""The report after the published warehouse: one HTML file in the data folder's exports, its headline as metadata.

Put what the step does and reports here; what the report says is usage_pipeline/report's.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from usage_pipeline.defs.columns import OWNERS
from usage_pipeline.defs.mart_assets import WAREHOUSE_KEY
from usage_pipeline.defs.partitions import Spread
from usage_pipeline.defs.pictures import fact_table
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.defs.several import together
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.report.queries import marts_read

if TYPE_CHECKING:
    from usage_pipeline.report.write import Report

REPORT_KEY = dg.AssetKey(["report"])


def report_assets(spread: Spread) -> list[dg.AssetsDefinition]:
    """The report; none where a mart it stands on is none of this pipeline's."""
    return [_report_asset(spread)] if marts_read() <= load_marts().keys() else []


def _report_asset(spread: Spread) -> dg.AssetsDefinition:
    """It has the days as partitions too, for else a backfill would need a second run for it."""

    @dg.asset(
        key=REPORT_KEY,
        group_name="report",
        description="One HTML file of what was spent in the last 30 closed days, why, and how far to trust it.",
        owners=OWNERS,
        kinds={"html"},
        deps=[WAREHOUSE_KEY],
        partitions_def=spread.partitions,
        backfill_policy=spread.policy,
        required_resource_keys={SESSION},
    )
    def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from usage_pipeline.report.write import write_report  # loading the charts' library takes most of a second

        session = session_of(context)
        with session.step(context, REPORT_KEY.to_user_string()) as told:
            written = [(one, write_report(one, now=session.now)) for one in session.members]
            told.outcome = "written"
            return together([(one, dg.MaterializeResult(metadata=_facts(done))) for one, done in written])

    return report


def _facts(done: "Report") -> dict[str, Any]:
    """Where a report is, and its headline."""
    words = {one.label: f"{one.value} {one.pill or ''}".strip() for one in done.figures}
    words |= {one.label: one.value for one in done.trust}
    amounts = {f"{one.id}_amount": one.exact for one in done.figures if one.exact is not None}
    return {
        "path": dg.MetadataValue.path(done.path.resolve()),
        "bytes": done.bytes,
        "days": f"{done.first_day} to {done.last_day}",
        "headline": fact_table([{"figure": label, "value": value} for label, value in words.items()]),
        # Dagster draws numbers over time; it has no decimals, so every digit stands beside them
        **{name: float(amount) for name, amount in amounts.items()},
        "exact_amounts": dg.MetadataValue.json(amounts),
    }
