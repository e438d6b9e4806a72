"""What Dagster shows follows from the endpoint table and the marts' files."""

import json
import subprocess
import sys
from datetime import timedelta

import dagster as dg
import pytest

from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.columns import mart_columns, mart_lineage
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.schemas import columns
from usage_pipeline.marts.lineage import FILE, column_sources
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.lineage import lineage_of

USAGE = {dg.AssetKey(["usage", name]) for name in ENDPOINTS}
MARTS = {dg.AssetKey(["marts", name]) for name in load_marts()}
DIMS = {dg.AssetKey(["dims", name]) for name in LISTS}
WAREHOUSE = dg.AssetKey("warehouse")
REPORT = dg.AssetKey("report")
MAINTENANCE = dg.AssetKey("maintenance")
RAW = dg.AssetKey("raw")


@pytest.fixture
def defs(settings: Settings) -> dg.Definitions:
    """The definitions over plain settings."""
    return build_defs(lambda: settings)


def test_every_row_and_every_mart_is_an_asset(defs: dg.Definitions) -> None:
    """The assets are raw, the endpoints, the lists of names, the marts, the published file, the report and upkeep."""
    others = {RAW, WAREHOUSE, REPORT, MAINTENANCE}
    assert defs.resolve_asset_graph().get_all_asset_keys() == USAGE | DIMS | MARTS | others


def test_assets_are_described_owned_and_in_five_groups(defs: dg.Definitions) -> None:
    """Every asset says what it is, of what kind, and who is asked; the graph reads raw, usage, dims, marts, report."""
    graph = defs.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert all(node.description and node.owners and node.kinds for node in nodes)
    assert {node.group_name for node in nodes} == {"raw", "usage", "dims", "marts", "report"}
    assert {key for key in USAGE | DIMS if graph.get(key).parent_keys == {RAW}} == USAGE | DIMS


@pytest.mark.parametrize("name", list(load_marts()))
def test_the_lineage_of_columns_is_that_of_the_query(defs: dg.Definitions, name: str) -> None:
    """It was read from the mart's present SQL, and leads only to columns that are there, of tables the mart reads."""
    mart, graph = load_marts()[name], defs.resolve_asset_graph()
    assert json.loads(FILE.read_text())[name]["sql"] == mart.sql_hash, "run python -m usage_pipeline_tests.lineage"
    shown = mart_lineage(name)
    assert set(shown.deps_by_column) <= {column.name for column in mart_columns(name).columns}
    for parent in {dep for deps in shown.deps_by_column.values() for dep in deps}:
        assert parent.asset_key in graph.get(dg.AssetKey(["marts", name])).parent_keys
        held = graph.get(parent.asset_key).metadata["dagster/column_schema"]
        assert parent.column_name in {column.name for column in held.columns}


def test_lineage_follows_values_through_a_query() -> None:
    """Aliases, joins, cases and derived views are followed; what rows are only joined by is left out."""
    assert column_sources("cost_by_team")["cost_center"] == ["dims.tags.cost_center", "dims.tags.team"]
    assert column_sources("cost_by_team")["amount"] == ["marts.cost_allocated.amount"]
    assert column_sources("cost_by_user")["user_email"] == ["dims.users.email"]
    assert lineage_of("cost_by_user") == column_sources("cost_by_user")


def test_marts_hang_on_what_their_queries_read(defs: dg.Definitions) -> None:
    """A mart's upstream assets are the tables its SQL reads; the warehouse comes after the marts, then the report."""
    graph = defs.resolve_asset_graph()
    for name, mart in load_marts().items():
        expected = {dg.AssetKey(["usage", one]) for one in mart.endpoints}
        expected |= {dg.AssetKey(["marts", one]) for one in mart.marts}
        expected |= {dg.AssetKey(["dims", one]) for one in mart.lists}
        assert graph.get(dg.AssetKey(["marts", name])).parent_keys == expected
    assert graph.get(WAREHOUSE).parent_keys == MARTS
    assert graph.get(REPORT).parent_keys == {WAREHOUSE}


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda row: row.name)
def test_an_asset_tells_its_columns(defs: dg.Definitions, endpoint: Endpoint) -> None:
    """The catalogue shows an endpoint's description and each column with type and meaning."""
    spec = defs.resolve_asset_graph().get(dg.AssetKey(["usage", endpoint.name]))
    shown = spec.metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema)
    assert spec.description == endpoint.description
    assert [(one.name, one.description) for one in shown.columns] == [(n, text) for n, _, text in columns(endpoint)]


def test_partitions_are_days_up_to_and_with_today(defs: dg.Definitions, settings: Settings) -> None:
    """The first partition is the settings' first day, the last is today; all of days share them, one run a range."""
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys() - {RAW, MAINTENANCE}:
        node = graph.get(key)
        assert node.partitions_def is not None
        assert node.partitions_def.get_first_partition_key() == settings.first_day().isoformat()
        assert node.partitions_def.get_last_partition_key() == utc_now().date().isoformat()
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_tomorrow_is_no_partition(defs: dg.Definitions) -> None:
    """A day that has not begun cannot be asked for, so it is never taken for complete."""
    partitions = defs.resolve_asset_graph().get(WAREHOUSE).partitions_def
    assert partitions is not None
    assert not partitions.has_partition_key((utc_now().date() + timedelta(days=1)).isoformat())


def test_every_endpoint_has_the_same_checks(defs: dg.Definitions) -> None:
    """Four checks for each endpoint, and the comparison with usage on costs."""
    expected = {(key, name) for key in USAGE for name in ("drift", "completeness", "non_negative", "freshness")}
    expected |= {(dg.AssetKey(["usage", "costs"]), "costs_have_usage")}
    found = {(one.asset_key, one.name) for one in defs.resolve_asset_graph().asset_check_keys}
    assert {key for key in found if key[0] in USAGE} == expected


def test_the_job_holds_everything(defs: dg.Definitions) -> None:
    """`sync_usage` runs all but upkeep: a step for each asset, each check of a mart, and the comparison with usage."""
    job = defs.resolve_job_def("sync_usage")
    graph = defs.resolve_asset_graph()
    daily = graph.get_all_asset_keys() - {RAW, MAINTENANCE}
    assert set(job.asset_layer.executable_asset_keys) == daily
    of_marts = [check for check in graph.asset_check_keys if check.asset_key in MARTS]
    assert len(job.nodes) == len(daily) + len(of_marts) + 1


def test_nothing_can_be_configured_with_a_key(defs: dg.Definitions) -> None:
    """No asset and no resource has a config field: what could be typed there would be stored and shown."""
    job = defs.resolve_job_def("sync_usage")
    assert all(not node.definition.config_schema.as_field().is_required for node in job.nodes)
    for node in job.nodes:
        assert node.definition.config_schema.as_field().config_type.given_name in {None, "Any"}
    schema = job.resource_defs["session"].config_schema
    assert schema is None or schema.as_field().config_type.given_name in {None, "Any"}


def test_importing_the_definitions_does_nothing() -> None:
    """Importing reads no settings: a broken environment hurts only when definitions are asked for."""
    code = "import usage_pipeline.definitions"
    env = {"USAGE_PIPELINE_START_DATE": "never", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


@pytest.mark.slow
def test_a_process_that_loads_the_definitions_writes_for_the_owner_alone() -> None:
    """Whoever starts Dagster, and with whatever mask: what runs write there is readable by nobody else."""
    code = "import os; os.umask(0o022); from usage_pipeline.definitions import defs; defs(); print(os.umask(0))"
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": ""}, check=True, capture_output=True, text=True)
    assert int(done.stdout) == 0o077
