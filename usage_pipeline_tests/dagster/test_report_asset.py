"""The report as an asset; that a whole run ends with it is test_demo.py's to show."""

from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.report.queries import marts_read
from usage_pipeline_tests.dagster.stage import Stage, failures, recent, values
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts(*sorted(marts_read()))


@pytest.mark.slow
def test_the_step_tells_where_the_report_is_and_its_headline(stage: Stage) -> None:
    """The file is in the data folder; the asset tells where it is, and its figures: drawn by Dagster, and exact."""
    stage.world.sync(stage.settings, recent(5), ["costs", "completions"])
    result = stage.run(recent(1), ["report"])
    assert result.success, failures(result)
    event = stage.instance.get_latest_materialization_event(dg.AssetKey("report"))
    assert event is not None
    assert event.asset_materialization is not None
    told = values(event.asset_materialization.metadata)
    path = Path(told["path"])
    assert path == (stage.settings.data_dir / "exports" / "report.html").resolve()
    assert path.stat().st_size == told["bytes"]
    first, last = told["days"].split(" to ")
    billed = "select sum(amount) from usage.costs where currency = 'usd' and date between $first::date and $last::date"
    ((amount,),) = rows(stage.settings, billed, {"first": first, "last": last})
    assert Decimal(told["exact_amounts"]["period_amount"]) == amount
    assert told["period_amount"] == float(amount)
    headline = {record.data["figure"]: record.data["value"] for record in told["headline"].records}
    assert headline["Freshness"] == "just now"
