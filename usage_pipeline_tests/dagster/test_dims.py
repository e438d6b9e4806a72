"""The assets of the lists of names: read in the same run, and no reason for usage to fail."""

from typing import Any

import dagster as dg
import pytest

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.name_lists import LISTS
from usage_pipeline_tests.dagster.stage import Stage, failures, recent, staged, values
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("cost_by_key", "cost_daily")

DIMS = [f"dims/{name}" for name in LISTS]
MONEY = [*DIMS, "usage/costs", "marts/cost_daily", "marts/cost_by_key"]


def facts(stage: Stage, asset: str) -> dict[str, Any]:
    """Metadata of the newest materialization."""
    record = stage.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=1).records[0]
    return values(record.asset_materialization.metadata)


@pytest.mark.slow
def test_a_run_reads_the_lists_and_marts_have_their_names(stage: Stage) -> None:
    """One run over days brings names before the marts that read them, and says how many there are."""
    result = stage.run(recent(3), MONEY)
    assert result.success, failures(result)
    for asset, names in zip(DIMS, LISTS.values(), strict=True):
        told = facts(stage, asset)
        assert told["outcome"] == "replaced"
        assert rows(stage.settings, f"select count(*) from {names.label}") == [(told["run_rows"],)]
    assert rows(stage.settings, "select count(project_name) > 0 from marts.cost_by_key") == [(True,)]


def test_a_run_of_one_list_reads_and_publishes_it_alone(stage: Stage) -> None:
    """The assets share the days of the others and can be materialized by themselves; a second time nothing is new."""
    assert stage.run(recent(1), ["dims/users"]).success
    assert not stage.gate.seen
    assert rows(stage.settings, "select count(*) > 0 from dims.users") == [(True,)]
    assert rows(stage.settings, "select count(*) from dims.projects") == [(0,)]


@pytest.mark.slow
def test_a_failing_list_fails_what_reads_it_and_nothing_else(stage: Stage) -> None:
    """Projects that cannot be listed make the run red; usage and the marts that need no names are there."""
    app = create_app(stage.world.organization)

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].endswith("/organization/projects"):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b'{"error": {"message": "not today"}}'})
        else:
            await app(scope, receive, send)

    with LoopbackServer(broken) as server:
        stage.settings = stage.settings.model_copy(update={"base_url": server.base_url})
        result = stage.run(recent(3), MONEY)
    failed = failures(result)
    per_project = {f"dims__{names.name}" for names in LISTS.values() if names.is_per_project}
    assert set(failed) == {"dims__projects", *per_project}
    assert failed["dims__projects"].startswith("dims.projects: ")
    built = {str(event.step_key) for event in result.all_node_events if event.is_step_success}
    assert {"usage__costs", "dims__users", "dims__admin_keys", "marts__cost_daily"} <= built
    assert "marts__cost_by_key" not in built
    assert rows(stage.settings, "select count(*) > 0 from marts.cost_by_key") == [(True,)], "published at the end"


@pytest.mark.slow
def test_a_key_without_the_right_leaves_the_run_green(data_dir: Any) -> None:
    """A key that reads usage only: the lists' steps say so in a warning, and every mart is built."""
    with staged(data_dir, OPENAI_ADMIN_KEY="sk-admin-nonames") as stage:
        result = stage.run(recent(3), MONEY)
        assert result.success, failures(result)
        told = facts(stage, "dims/users")
        assert told["outcome"] == "refused"
        assert "api.management.read" in told["warnings"][0]
        assert rows(stage.settings, "select count(*) > 0 from marts.cost_by_key") == [(True,)]
