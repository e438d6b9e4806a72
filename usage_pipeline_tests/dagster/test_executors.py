"""The same run in this process, in processes beside it, by Celery's workers and as Kubernetes' jobs."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.instance.config import PoolGranularity

from usage_pipeline.api.client import CONCURRENCY
from usage_pipeline.defs.budget import API_POOL, STEPS, client_factory_of
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.executors import executor_of
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.partitions import RANGE_END, RANGE_START, dim_key, spread_of, usage_key
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import make_client
from usage_pipeline_tests.dagster.apart import (
    REDIS_PASSWORD,
    celery_workers,
    environment_of,
    has_postgres,
    has_program,
    kill_child,
    postgres,
    redis,
    run_apart,
)
from usage_pipeline_tests.dagster.cluster import Cluster, open_cluster
from usage_pipeline_tests.dagster.stage import Stage, recent, staged
from usage_pipeline_tests.dagster.ui_driver import serving, until
from usage_pipeline_tests.pages import OPERATORS, fences, read
from usage_pipeline_tests.world import everything, rows

SOME = ("usage/costs", "usage/images", "usage/embeddings", "dims/projects", "marts/cost_daily")
KUBERNETES = "1.31"
BROKER = "CELERY_BROKER_URL"
BACKEND = "CELERY_RESULT_BACKEND"


def _settings(**more: str) -> Settings:
    return Settings(_env_file=None, **more)


def _as_in_process(stage: Stage, folder: Path, days: int) -> None:
    """What the stage's folder now has is what a run in one process brings of the same days."""
    alone = stage.settings.model_copy(update={"data_dir": folder / "in process", "executor": "in_process"})
    before = Stage(stage.world, stage.gate, alone, stage.instance)
    stage.gate.wait_for = 0
    assert before.run(recent(days), SOME).success
    expected = everything(alone)
    assert len(expected["usage.costs"]) > 0
    assert everything(stage.settings) == expected


def _step_events(stage: Stage, kind: dg.DagsterEventType) -> list[dg.EventLogEntry]:
    (run,) = stage.instance.get_runs()
    return [one for one in stage.instance.all_logs(run.run_id) if one.dagster_event_type == kind]


def _shown(key: str) -> Any:
    """What operators.md shows for a key of dagster.yaml."""
    (text,) = [one for one in fences(read(OPERATORS), "text") if one.startswith(f"{key}:")]
    return yaml.safe_load(text)


def _with_launcher(shipped: str, cluster: Cluster) -> str:
    """The shipped dagster.yaml with the launcher operators.md shows, of a cluster that is reached from outside."""
    changed = yaml.safe_load(shipped) | _shown("run_launcher")
    reached = {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    changed["run_launcher"]["config"] |= reached
    return str(yaml.safe_dump(changed))


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in run["tags"]}


def _waited(stage: Stage) -> bool:
    (run,) = stage.instance.get_runs()
    return any(f"blocked by limit for pool {API_POOL}" in one.message for one in stage.instance.all_logs(run.run_id))


def test_every_step_runs_in_the_runs_process_unless_told_otherwise() -> None:
    """The default needs no extra, no broker and no other process."""
    assert _settings().require_executor() == "in_process"
    assert executor_of("in_process") is dg.in_process_executor


@pytest.mark.parametrize("name", ["multiprocess", "celery", "k8s"])
def test_each_executor_is_what_it_is_called(name: str) -> None:
    """The setting's names are those Dagster shows."""
    if name != "multiprocess":
        pytest.importorskip(f"dagster_{name}", reason="needs the extra `scale`")
    assert executor_of(name).name == name


def test_a_name_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name is one error that says the right ones."""
    monkeypatch.setenv("USAGE_PIPELINE_EXECUTOR", "dask")
    with pytest.raises(FixConfig, match=r"USAGE_PIPELINE_EXECUTOR: Input should be 'in_process', 'multiprocess'"):
        Settings.from_env(None)


@pytest.mark.parametrize("name", ["celery", "k8s"])
def test_without_the_extra_it_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor whose library is not there is refused in one line with the command that brings it."""
    monkeypatch.setattr("usage_pipeline.setting_checks.find_spec", lambda _library: None)
    with pytest.raises(FixConfig, match=rf"{name} needs the extra .*pip install 'usage-pipeline\[scale\]'") as told:
        _settings(USAGE_PIPELINE_EXECUTOR=name).require_executor()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("given", "missing"), [({}, BROKER), ({BROKER: "redis://127.0.0.1/0"}, BACKEND)])
def test_celery_has_to_know_its_broker(given: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's default broker would be waited for in vain: its variables have to be set."""
    monkeypatch.setattr("usage_pipeline.setting_checks.find_spec", lambda library: library)
    for name in (BROKER, BACKEND):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FixConfig, match=f"celery needs {missing} in the environment"):
        _settings(USAGE_PIPELINE_EXECUTOR="celery").require_executor()


def test_one_process_needs_no_pool(settings: Settings) -> None:
    """By default no step claims a place in a pool: a killed run without a daemon leaves none taken."""
    graph = build_defs(lambda: settings).resolve_asset_graph()
    assert not any(graph.get(key).pools for key in graph.get_all_asset_keys())


def test_who_asks_the_service_is_in_the_pool(settings: Settings) -> None:
    """Where steps have processes of their own, those that ask the service, and no others, are in its pool."""
    apart = settings.model_copy(update={"executor": "multiprocess"})
    graph = build_defs(lambda: apart).resolve_asset_graph()
    pooled = {key for key in graph.get_all_asset_keys() if graph.get(key).pools}
    assert pooled == {*map(usage_key, ENDPOINTS), *map(dim_key, LISTS)}
    assert set().union(*(graph.get(key).pools for key in pooled)) == {API_POOL}


def test_the_budget_is_that_of_one_process(tmp_path: Path) -> None:
    """As many steps as the shipped pool has places send together at most what one process sends."""
    with dg.DagsterInstance.from_config(str(prepare_home(tmp_path))) as instance:
        pools = instance.event_log_storage.get_pool_config()
    assert (pools.pool_granularity, pools.default_pool_limit) == (PoolGranularity.OP, STEPS)
    made = client_factory_of("celery")
    assert isinstance(made, partial)
    assert 0 < STEPS * made.keywords["concurrency"] <= CONCURRENCY
    assert client_factory_of("in_process") is make_client


@pytest.mark.parametrize(("executor", "most"), [("in_process", None), ("multiprocess", 31)])
def test_a_long_backfill_is_cut_where_workers_can_share_it(settings: Settings, executor: str, most: int | None) -> None:
    """One process does a backfill in one run; for several it is cut into runs of a month, whatever is selected."""
    chosen = settings.model_copy(update={"executor": executor})
    graph = build_defs(lambda: chosen).resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert {one.backfill_policy.max_partitions_per_run for one in nodes if one.is_partitioned} == {most}


def test_days_of_several_organizations_are_not_cut() -> None:
    """A cut between two organizations of a day would leave a run that does not say whose days it is about."""
    spread = spread_of(date(2026, 11, 1), ["acme", "beta"], is_shared=True)
    assert spread.policy == dg.BackfillPolicy.single_run()


@pytest.mark.slow
def test_all_workers_share_the_pool(data_dir: Path) -> None:
    """With one place in the pool two processes never ask the service at once."""
    with staged(data_dir, USAGE_PIPELINE_EXECUTOR="multiprocess") as stage:
        stage.instance.event_log_storage.set_concurrency_slots(API_POOL, 1)
        stage.gate.delay_seconds = 0.5
        run_apart(stage.settings, recent(2), SOME[:3], {})
        assert stage.gate.most_under_way == 1
        assert stage.gate.seen.total() == 3
        assert _waited(stage)


@pytest.mark.slow
def test_processes_beside_the_run_bring_the_same_rows(data_dir: Path) -> None:
    """With `multiprocess` two endpoints are read by two processes at once, and all rows are those of one process.

    More days than a backfill's run has are one run where a run is asked for: the schedule's after an outage.
    """
    with staged(data_dir, USAGE_PIPELINE_EXECUTOR="multiprocess") as stage:
        stage.gate.wait_for = 2
        run_apart(stage.settings, recent(40), SOME, {})
        assert stage.gate.most_under_way >= 2
        started = _step_events(stage, dg.DagsterEventType.STEP_WORKER_STARTED)
        pids = {one.get_dagster_event().event_specific_data.metadata["pid"].value for one in started}
        assert len(pids) == len(started) >= len(SOME)  # a check of several assets is a step too
        _as_in_process(stage, data_dir.parent, 40)


@pytest.mark.slow
@pytest.mark.skipif(not has_program("redis-server"), reason="needs redis-server")
def test_celerys_workers_share_a_run(data_dir: Path, tmp_path: Path) -> None:
    """Two workers read endpoints of one run at once, with no configuration but the setting and Celery's variables.

    The broker's password, which these hold, is in no file of Dagster's or the lake's.
    """
    pytest.importorskip("dagster_celery", reason="needs the extra `scale`")
    with redis(tmp_path) as broker, staged(data_dir, USAGE_PIPELINE_EXECUTOR="celery") as stage:
        more = broker.variables
        stage.gate.wait_for = 2
        with celery_workers(2, stage.settings, more, tmp_path):
            run_apart(stage.settings, recent(4), SOME, more)
        assert stage.gate.most_under_way >= 2
        told = [one.get_dagster_event() for one in _step_events(stage, dg.DagsterEventType.ENGINE_EVENT)]
        at = [one.engine_event_data.metadata["Celery worker"].value for one in told if "celery worker" in one.message]
        assert {str(worker).partition("@")[0] for worker in at} == {"w1", "w2"}
        assert len(at) >= len(SOME)
        for path in (one for one in data_dir.rglob("*") if one.is_file()):
            assert REDIS_PASSWORD.encode() not in path.read_bytes(), path
        _as_in_process(stage, data_dir.parent, 4)


@pytest.mark.slow
@pytest.mark.skipif(not has_program("redis-server"), reason="needs redis-server")
def test_a_worker_that_is_killed_costs_a_step_another_try(data_dir: Path, tmp_path: Path) -> None:
    """Steps whose workers' processes are killed are done again in the same run, and those after them then."""
    pytest.importorskip("dagster_celery", reason="needs the extra `scale`")
    with redis(tmp_path) as broker, staged(data_dir, USAGE_PIPELINE_EXECUTOR="celery") as stage:
        more = broker.variables
        stage.gate.delay_seconds = 1
        with celery_workers(2, stage.settings, more, tmp_path) as workers, ThreadPoolExecutor(1) as beside:
            run = beside.submit(run_apart, stage.settings, recent(4), SOME, more)
            while not stage.gate.under_way:
                time.sleep(0.01)
            for worker in workers:
                kill_child(worker)
            run.result()
        assert _step_events(stage, dg.DagsterEventType.STEP_UP_FOR_RETRY)
        assert not _step_events(stage, dg.DagsterEventType.STEP_FAILURE)
        stage.gate.delay_seconds = 0
        _as_in_process(stage, data_dir.parent, 4)


@pytest.mark.slow
def test_kubernetes_jobs_do_the_steps(data_dir: Path, tmp_path: Path) -> None:
    """Each step is a job made from what operators.md shows for `dagster.yaml`; the schemas of Kubernetes take it.

    There is no cluster here: something that speaks its API runs the jobs' commands as processes.
    """
    pytest.importorskip("dagster_k8s", reason="needs the extra `scale`")
    with staged(data_dir, USAGE_PIPELINE_EXECUTOR="k8s") as stage, open_cluster(tmp_path) as cluster:
        cluster.environment = environment_of(stage.settings, {})
        home = data_dir / "dagster" / "dagster.yaml"
        home.write_text(_with_launcher(home.read_text(), cluster))
        run_apart(stage.settings, recent(2), SOME[:2], {})
        for job in cluster.jobs:
            kubernetes_validate.validate({"apiVersion": "batch/v1", "kind": "Job", **job}, KUBERNETES, strict=True)
            pod = job["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert pod["serviceAccountName"] == "usage-pipeline"
            assert {"name": "data", "mountPath": "/srv/usage_pipeline/data"} in container["volumeMounts"]
            assert container["envFrom"] == [{"secretRef": {"name": "usage-pipeline"}}]
            assert stage.settings.require_key().get_secret_value() not in str(job)
        steps = [job["metadata"]["labels"]["dagster/op"] for job in cluster.jobs]
        assert {"usage__costs", "usage__images"} <= set(steps)  # a check of several assets is a step too
        assert stage.gate.seen.keys() == {"costs", "images"}


def test_kubernetes_needs_its_launcher(stage: Stage) -> None:
    """Without the launcher that knows the jobs' image a run is refused in one line that says what to do."""
    pytest.importorskip("dagster_k8s", reason="needs the extra `scale`")
    job = dg.GraphDefinition(name="nothing").to_job(executor_def=executor_of("k8s"))
    context = dg.InitExecutorContext(InMemoryJob(job), executor_of("k8s"), {}, stage.instance)
    with pytest.raises(FixConfig, match="name it under run_launcher"):
        executor_of("k8s").executor_creation_fn(context)


def test_the_run_config_of_jobs_is_checked(settings: Settings) -> None:
    """What the launch page sends for Kubernetes (another image, more memory) is validated by the executor's schema."""
    pytest.importorskip("dagster_k8s", reason="needs the extra `scale`")
    job = build_defs(lambda: settings.model_copy(update={"executor": "k8s"})).resolve_job_def("sync_usage")
    larger = {"container_config": {"resources": {"limits": {"memory": "8Gi"}}}}
    given = {"job_image": "usage-pipeline:0.1.1", "step_k8s_config": larger, "max_concurrent": 4}
    assert dg.validate_run_config(job, {"execution": {"config": given}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="job_imag"):
        dg.validate_run_config(job, {"execution": {"config": {"job_imag": "usage-pipeline:0.1.1"}}})


@pytest.mark.slow
@pytest.mark.skipif(not has_postgres(), reason="needs a Postgres server")
def test_runs_and_places_in_the_pool_can_be_in_postgres(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what operators.md shows for `dagster.yaml`, runs, events and the pool are in Postgres, none in SQLite."""
    pytest.importorskip("dagster_postgres", reason="needs the extra `scale`")
    with postgres(tmp_path) as address, staged(tmp_path / "world", USAGE_PIPELINE_EXECUTOR="multiprocess") as stage:
        home = prepare_home(data_dir)
        changed = yaml.safe_load((home / "dagster.yaml").read_text()) | _shown("storage")
        (home / "dagster.yaml").write_text(yaml.safe_dump(changed))
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", address)
        run_apart(stage.settings.model_copy(update={"data_dir": data_dir}), recent(2), SOME[:2], {})
        with dg.DagsterInstance.from_config(str(home)) as instance:
            (run,) = instance.get_runs()
            assert run.status == dg.DagsterRunStatus.SUCCESS
            assert instance.get_latest_materialization_event(usage_key("costs")) is not None
            (pool,) = instance.event_log_storage.get_pool_limits()
        assert (pool.name, pool.limit) == (API_POOL, STEPS)
        assert not list(home.rglob("*.db"))


@pytest.mark.slow
def test_a_backfill_of_one_endpoint_is_shared_by_time(data_dir: Path, tmp_path: Path) -> None:
    """Forty days of one endpoint, backfilled in the UI, are two runs of whole partitions, which workers can share."""
    days = [day.isoformat() for day in recent(40).dates()]
    with staged(data_dir, USAGE_PIPELINE_EXECUTOR="multiprocess", USAGE_PIPELINE_START_DATE=days[0]) as stage:
        with serving(stage.settings, tmp_path) as (ui, child):
            backfill = ui.backfill(days, [["usage", "images"]])
            until(lambda: ui.backfill_status(backfill).startswith("COMPLETED"), 300, child)
            assert ui.backfill_status(backfill) == "COMPLETED_SUCCESS"
            windows = {(tags[RANGE_START], tags[RANGE_END]) for tags in map(_tags, ui.runs())}
            assert windows == {(days[0], days[30]), (days[31], days[-1])}
            assert ui.spans(["usage", "images"]) == [
                {"startKey": days[0], "endKey": days[-1], "status": "MATERIALIZED"}
            ]
        assert rows(stage.settings, "select count(*) from meta.coverage where endpoint = 'images'") == [(len(days),)]
