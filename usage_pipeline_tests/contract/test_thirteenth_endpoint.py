"""Adding an endpoint is one row and one golden page: everything else follows from the row."""

import json
from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.api.models import parse_page
from usage_pipeline.defs.build import build_defs
from usage_pipeline.endpoints import ENDPOINTS, Dimension, Endpoint, Measure
from usage_pipeline_tests.played import GOLDEN
from usage_pipeline_tests.world import World, last_days, open_world, rows

VIDEOS = Endpoint(
    name="videos",
    path="/organization/usage/videos",
    result_object="organization.usage.videos.result",
    description="Seconds of video made.",
    dimensions=(
        *(d for d in ENDPOINTS["embeddings"].dimensions if d.name in {"project_id", "model"}),
        Dimension(name="resolution", filter="resolutions", description="Picture size of the video."),
    ),
    measures=(
        Measure(name="seconds", unit="seconds", description="Seconds made."),
        Measure(name="num_model_requests", unit="requests", description="Requests made to the model."),
    ),
)
GOLDEN_PAGE = {
    "object": "page",
    "has_more": False,
    "next_page": None,
    "data": [
        {
            "object": "bucket",
            "start_time": 1793577600,
            "end_time": 1793664000,
            "results": [{"object": VIDEOS.result_object, "seconds": 12, "num_model_requests": 3, "resolution": "720p"}],
        }
    ],
}


@pytest.fixture
def thirteen(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """The table with one more row, as a newcomer's commit would leave it."""
    monkeypatch.setitem(ENDPOINTS, VIDEOS.name, VIDEOS)
    return VIDEOS


def test_its_golden_page_is_validated_by_the_row(thirteen: Endpoint) -> None:
    """The page a newcomer adds is checked against the row without any code."""
    page = parse_page(thirteen, json.dumps(GOLDEN_PAGE).encode(), where="golden")
    assert page.buckets[0].results[0]["seconds"] == 12


def test_each_endpoint_has_its_golden_page() -> None:
    """Every row of the table has a golden page, and no page lacks its row."""
    assert {path.stem for path in (GOLDEN / "pages").glob("*.json")} == set(ENDPOINTS)


def test_it_is_served_synced_published_and_rolled_up(thirteen: Endpoint, tmp_path: Path) -> None:
    """The simulator serves it, the client reads it, the warehouse has its table and the marts count it."""
    with open_world() as world:
        settings = world.settings(tmp_path)
        report = world.sync(settings, last_days(3), [thirteen.name])
    assert not report.failed
    assert rows(settings, "select count(*) > 0, count(distinct resolution) > 0 from usage.videos") == [(True, True)]
    totals = rows(settings, "select sum(seconds), sum(num_model_requests) from usage.videos")
    long = "select sum(value) filter (measure = 'seconds'), sum(value) filter (measure = 'num_model_requests')"
    assert rows(settings, f"{long} from marts.usage_daily where endpoint = 'videos'") == totals
    by_model = "select sum(num_model_requests) from marts.usage_daily_by_model where endpoint = 'videos'"
    assert rows(settings, by_model) == [totals[0][1:]]
    priced = "select meter, unit, price_basis, sum(quantity), sum(estimated_cost) from marts.usage_priced group by all"
    assert rows(settings, priced) == [("seconds", "seconds", "unpriced", totals[0][0], None)]


def test_it_is_an_asset_with_checks(thirteen: Endpoint, settings: World) -> None:
    """Dagster shows it, with the checks every endpoint has, in the sync job."""
    defs = build_defs(settings=lambda: settings)
    graph = defs.resolve_asset_graph()
    key = dg.AssetKey(["usage", thirteen.name])
    assert key in graph.get_all_asset_keys()
    checks = {check.name for check in graph.asset_check_keys if check.asset_key == key}
    sibling = {
        check.name for check in graph.asset_check_keys if check.asset_key == dg.AssetKey(["usage", "embeddings"])
    }
    assert checks == sibling
    assert key in defs.resolve_job_def("sync_usage").asset_layer.executable_asset_keys


def test_the_day_it_appears_marts_over_all_endpoints_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warehouse from before the row existed syncs on; marts over all endpoints are computed anew, others are not."""
    with open_world() as world:
        settings = world.settings(tmp_path)
        world.sync(settings, last_days(4), ["embeddings"])
    monkeypatch.setitem(ENDPOINTS, VIDEOS.name, VIDEOS)
    with open_world() as newer:
        report = newer.sync(newer.settings(tmp_path), last_days(2), ["videos"])
    assert report.refreshed is not None
    builds = {build.mart: len(build.days) for build in report.refreshed.builds}
    assert builds["cost_daily"] == builds["cost_daily_by_project"] == 0
    assert builds["usage_daily"] == builds["usage_daily_by_model"] == builds["usage_priced"] == 4
