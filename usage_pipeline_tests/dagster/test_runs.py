"""Runs of the real job on a real instance, against a served organization."""

import pickle
import sqlite3
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.columns import COLUMN_LINEAGE
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.defs.session import StepNews
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.dagster.stage import KEY, SILENT, Stage, failures, recent, staged, values, verdicts
from usage_pipeline_tests.world import rows, versions

pytestmark = pytest.mark.marts("cost_daily_by_project", "usage_daily")

ALL = {f"usage__{name}" for name in ENDPOINTS}
NAMES = {f"dims__{name}" for name in LISTS}


def _metadata(stage: Stage, asset: str) -> dict[str, dict[str, Any]]:
    """Partition -> metadata of an asset's newest materialization."""
    key = dg.AssetKey(asset.split("/"))
    records = stage.instance.fetch_materializations(key, limit=100, ascending=True).records
    return {str(one.partition_key): values(one.asset_materialization.metadata) for one in records}


def _steps(result: dg.ExecuteInProcessResult, kind: str) -> set[str]:
    return {str(event.step_key) for event in result.all_node_events if event.event_type_value == kind}


class _Trap:
    """Pickled, it leaves a trace when it is read."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._trace,))


def test_no_planted_pickle_is_read(stage: Stage, tmp_path: Path) -> None:
    """Where Dagster's default storage would keep what assets return, and among our own files, pickles stay unread."""
    trap, home = pickle.dumps(_Trap(tmp_path / "trace")), Path(stage.instance.root_directory)
    for asset in ("usage/costs", "marts/cost_daily_by_project", "warehouse"):
        for folder in (home / "storage" / asset, stage.settings.data_dir / asset):
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*map(str, recent(2).dates()), "content.pkl"):
                (folder / name).write_bytes(trap)
    result = stage.run(recent(2), ("usage/costs", "marts/cost_daily_by_project", "warehouse"))
    assert result.success, failures(result)
    assert not (tmp_path / "trace").exists()
    pickle.loads(trap)  # noqa: S301 - it would have been seen
    assert (tmp_path / "trace").exists()


@pytest.mark.slow
def test_a_range_run_tells_each_day_its_own(stage: Stage) -> None:
    """One run over several days: each partition has its own rows and hash, and the run's facts beside them."""
    window = recent(4)
    result = stage.run(window)
    assert result.success, failures(result)
    told = _metadata(stage, "usage/completions")
    known = "select date::varchar, rows from meta.coverage where endpoint = 'completions'"
    held = dict(rows(stage.settings, known))
    counted = rows(stage.settings, "select date::varchar, count(*) from usage.completions group by all")
    assert dict(counted).items() <= held.items()  # just after midnight today has no row yet
    hashes = dict(
        rows(stage.settings, "select date::varchar, content_hash from meta.coverage where endpoint = 'completions'")
    )
    assert set(told) == {day.isoformat() for day in window.dates()}
    assert {day: facts["dagster/partition_row_count"] for day, facts in told.items()} == held
    assert {day: facts["content_hash"] for day, facts in told.items()} == hashes
    assert {facts["run_requests"] for facts in told.values()} == {1}
    assert {facts["window"] for facts in told.values()} == {str(window)}
    assert {facts["bucket_width"] for facts in told.values()} == {"1d"}
    assert {facts["service"] for facts in told.values()} == {stage.settings.service}
    marts = _metadata(stage, "marts/cost_daily")
    assert sum(facts["dagster/partition_row_count"] for facts in marts.values()) > 0
    assert _metadata(stage, "warehouse").keys() == told.keys()
    archived = stage.instance.get_latest_materialization_event(dg.AssetKey("raw"))
    assert archived is not None
    newest = [max(told)]  # what is large is not stored once more for each day
    assert [day for day, facts in told.items() if {"rows", "days"} & facts.keys()] == newest
    assert [day for day, facts in marts.items() if COLUMN_LINEAGE in facts] == newest


@pytest.mark.slow
def test_all_endpoints_are_read_at_once(stage: Stage) -> None:
    """The run does not wait for one endpoint after another: twelve requests are under way together."""
    stage.gate.wait_for = len(ENDPOINTS)
    result = stage.run(recent(1))
    assert result.success, failures(result)
    assert stage.gate.most_under_way == len(ENDPOINTS)


def test_a_run_of_some_assets_reads_only_those(stage: Stage) -> None:
    """What is not selected is not read, and what was read is published although no warehouse step ran."""
    result = stage.run(recent(2), ["usage/embeddings", "usage/images"])  # just after midnight today has no rows yet
    assert result.success, failures(result)
    assert set(stage.gate.seen) == {"embeddings", "images"}
    assert rows(stage.settings, "select count(*) > 0 from usage.embeddings") == [(True,)]


def test_one_endpoint_failing_spoils_nothing_else(stage: Stage) -> None:
    """The run is red; the other endpoints and the marts that do not need it are built, and all that is published."""
    stage.gate.status["images"] = 400
    news: list[StepNews] = []
    result = stage.run(recent(2), on_event=news.append)
    run = stage.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert set(failures(result)) == {"usage__images"}
    succeeded = _steps(result, "STEP_SUCCESS")
    assert succeeded >= (ALL - {"usage__images"}) | {"marts__cost_daily", "marts__cost_daily_by_project"}
    assert "marts__usage_daily" not in succeeded
    assert rows(stage.settings, "select count(*) > 0 from marts.cost_daily") == [(True,)]
    assert rows(stage.settings, "select count(distinct endpoint) from meta.coverage") == [(len(ENDPOINTS) - 1,)]
    assert [one.asset for one in news if one.outcome == "failed"] == ["usage/images"]


def test_a_failure_is_one_line_with_the_way_out(stage: Stage) -> None:
    """A failed step says endpoint, window and what to do; no traceback of ours, no request object."""
    stage.gate.status["images"] = 400
    result = stage.run(recent(1), ["usage/images"])
    told = failures(result)["usage__images"]
    assert told.startswith("images ")
    assert "\n" not in told
    event = next(event for event in result.all_node_events if event.is_step_failure)
    assert event.step_failure_data.error is not None
    assert event.step_failure_data.error.cause is None
    assert event.step_failure_data.error.context is None


def test_without_a_key_every_step_says_so(data_dir: Path) -> None:
    """A missing key is told by the step of each endpoint and list in one line that names the setting."""
    with staged(data_dir, OPENAI_ADMIN_KEY="") as stage:
        result = stage.run(recent(1))
    assert set(failures(result)) == ALL | NAMES
    assert all("OPENAI_ADMIN_KEY is not set" in told for told in failures(result).values())


def test_a_busy_service_is_asked_again(stage: Stage) -> None:
    """A step whose endpoint was busy is retried by itself, reads again, and the run ends green."""
    stage.gate.status["images"] = 503
    stage.gate.fails_left["images"] = 1
    result = stage.run(recent(1), ["usage/images", "usage/costs"])
    assert result.success, failures(result)
    assert _steps(result, "STEP_RESTARTED") == {"usage__images"}
    assert stage.gate.seen["images"] == 2
    assert stage.gate.seen["costs"] == 1


def test_a_service_that_stays_busy_fails_in_the_end(stage: Stage) -> None:
    """After two more tries the step fails with the service's own words."""
    stage.gate.status["images"] = 503
    result = stage.run(recent(1), ["usage/images"])
    assert stage.gate.seen["images"] == 3
    assert "status 503" in failures(result)["usage__images"]


@pytest.mark.slow
def test_a_second_run_with_nothing_new_writes_nothing(stage: Stage) -> None:
    """Re-reading settled days leaves every usage and mart table at its version."""
    window = recent(3)
    assert stage.run(window).success
    before = versions(stage.settings)
    assert stage.run(window).success
    changed = {path for path, version in versions(stage.settings).items() if before.get(path) != version}
    assert changed == {"meta/sync_log"}  # that it was checked
    assert {facts["outcome"] for facts in _metadata(stage, "usage/costs").values()} == {"unchanged"}


@pytest.mark.slow
def test_restated_days_are_counted_day_by_day(stage: Stage) -> None:
    """When the organization restates closed days, the next run's partitions say how many rows each lost or won."""
    window = recent(5)
    stage.world.clock.advance(timedelta(days=-1))
    assert stage.run(window, ["usage/costs"]).success
    stage.world.clock.advance(timedelta(days=1))
    assert stage.run(window, ["usage/costs"]).success
    counted = "select date::varchar, count(*) from meta.restatements where not was_provisional and endpoint = 'costs'"
    ledger = dict(rows(stage.settings, f"{counted} group by all"))
    told = {day: facts["restated_rows"] for day, facts in _metadata(stage, "usage/costs").items()}
    assert {day: count for day, count in told.items() if count} == ledger


@pytest.mark.slow
def test_the_key_is_nowhere_in_the_instance(stage: Stage) -> None:
    """After good and bad runs no file of the instance or the lake holds the key, not even compressed."""
    stage.gate.status["images"] = 401
    stage.gate.status["moderations"] = 503
    assert not stage.run(recent(1)).success
    home = stage.settings.data_dir
    for path in (one for one in home.rglob("*") if one.is_file()):
        assert KEY.encode() not in path.read_bytes(), path
    for path in home.rglob("*.db"):
        for value in _cells(path):
            assert KEY not in _text(value), path


def _cells(path: Path) -> list[Any]:
    """Every value of every table of a SQLite file."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as con:
        tables = [name for (name,) in con.execute("select name from sqlite_master where type = 'table'")]
        found = [value for table in tables for row in con.execute(f'select * from "{table}"') for value in row]
    con.close()
    return found


def _text(value: Any) -> str:
    """A value as text; blobs are unpacked, for that is how Dagster stores snapshots."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return zlib.decompress(value).decode(errors="replace")
    except zlib.error:
        return value.decode(errors="replace")


def test_the_demo_is_not_mixed_with_real_rows(stage: Stage) -> None:
    """A folder that holds the demo's rows is refused before anything is read."""
    demo = stage.world.settings(stage.settings.data_dir, USAGE_PIPELINE_ORGANIZATION="demo")
    stage.world.sync(demo, recent(1), ["embeddings"])
    stage.gate.seen.clear()
    result = stage.run(recent(1), ["usage/embeddings"])
    assert "made-up rows" in failures(result)["usage__embeddings"]
    assert not stage.gate.seen


def test_a_warning_is_no_failure(stage: Stage) -> None:
    """Reading only old days leaves the run green and the freshness check yellow."""
    day = utc_now().date() - timedelta(days=10)
    result = stage.run(Window.of_days(day, day + timedelta(days=1)), ["usage/embeddings"])
    assert result.success
    fresh = verdicts(result, "freshness")["usage/embeddings"]
    assert not fresh.passed
    assert fresh.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize("width", ["1h"])
def test_other_bucket_widths_are_told(data_dir: Path, width: str) -> None:
    """At another bucket width the partition says so, costs stay at 1d."""
    with staged(data_dir, USAGE_PIPELINE_BUCKET_WIDTH=width) as stage:
        assert stage.run(recent(1), ["usage/embeddings", "usage/costs"]).success
        assert [facts["bucket_width"] for facts in _metadata(stage, "usage/embeddings").values()] == [width]
        assert [facts["bucket_width"] for facts in _metadata(stage, "usage/costs").values()] == ["1d"]


def test_settings_are_read_when_the_run_needs_them(stage: Stage) -> None:
    """Settings that break after the definitions were loaded fail the step with their one line."""
    calls: list[int] = []

    def read() -> Settings:
        calls.append(1)
        if len(calls) > 1:
            raise FixConfig("setting USAGE_PIPELINE_LOOKBACK_DAYS: too many.")
        return stage.settings

    job = build_defs(read).resolve_job_def("sync_usage")
    result = job.execute_in_process(
        instance=stage.instance,
        tags=range_tags(recent(1)),
        asset_selection=[dg.AssetKey(["usage", "images"])],
        run_config=SILENT,
        raise_on_error=False,
    )
    assert failures(result)["usage__images"] == "setting USAGE_PIPELINE_LOOKBACK_DAYS: too many."
