"""The same run in this process, in processes beside it, by Celery's workers and as Kubernetes' jobs."""

from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.defs.executors import executor_of
from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings
from usage_pipeline_tests.dagster.apart import celery_workers, has_program, redis, run_apart
from usage_pipeline_tests.dagster.stage import Stage, recent, staged
from usage_pipeline_tests.world import everything

SOME = ("usage/costs", "usage/images", "usage/embeddings", "dims/projects", "marts/cost_daily")
BROKER = "CELERY_BROKER_URL"
BACKEND = "CELERY_RESULT_BACKEND"


def _settings(**more: str) -> Settings:
    return Settings(_env_file=None, **more)


def _as_in_process(stage: Stage, folder: Path) -> None:
    """What the stage's folder now has is what a run in one process brings of the same days."""
    alone = stage.settings.model_copy(update={"data_dir": folder / "in process", "executor": "in_process"})
    before = Stage(stage.world, stage.gate, alone, stage.instance)
    stage.gate.wait_for = 0
    assert before.run(recent(4), SOME).success
    expected = everything(alone)
    assert len(expected["usage.costs"]) > 0
    assert everything(stage.settings) == expected


def _step_events(stage: Stage, kind: dg.DagsterEventType) -> list[dg.EventLogEntry]:
    (run,) = stage.instance.get_runs()
    return [one for one in stage.instance.all_logs(run.run_id) if one.dagster_event_type == kind]


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


@pytest.mark.slow
def test_processes_beside_the_run_bring_the_same_rows(data_dir: Path) -> None:
    """With `multiprocess` two endpoints are read by two processes at once, and all rows are those of one process."""
    with staged(data_dir, USAGE_PIPELINE_EXECUTOR="multiprocess") as stage:
        stage.gate.wait_for = 2
        run_apart(stage.settings, recent(4), SOME, {})
        assert stage.gate.most_under_way >= 2
        started = _step_events(stage, dg.DagsterEventType.STEP_WORKER_STARTED)
        pids = {one.get_dagster_event().event_specific_data.metadata["pid"].value for one in started}
        assert len(pids) == len(started) >= len(SOME)  # a check of several assets is a step too
        _as_in_process(stage, data_dir.parent)


@pytest.mark.slow
@pytest.mark.skipif(not has_program("redis-server"), reason="needs redis-server")
def test_celerys_workers_share_a_run(data_dir: Path, tmp_path: Path) -> None:
    """Two workers read endpoints of one run at once, with no configuration but the setting and Celery's variables."""
    pytest.importorskip("dagster_celery", reason="needs the extra `scale`")
    with redis(tmp_path) as address, staged(data_dir, USAGE_PIPELINE_EXECUTOR="celery") as stage:
        more = {BROKER: address, BACKEND: address}
        stage.gate.wait_for = 2
        with celery_workers(2, stage.settings, more, tmp_path):
            run_apart(stage.settings, recent(4), SOME, more)
        assert stage.gate.most_under_way >= 2
        told = [one.get_dagster_event() for one in _step_events(stage, dg.DagsterEventType.ENGINE_EVENT)]
        at = [one.engine_event_data.metadata["Celery worker"].value for one in told if "celery worker" in one.message]
        assert {str(worker).partition("@")[0] for worker in at} == {"w1", "w2"}
        assert len(at) >= len(SOME)
        _as_in_process(stage, data_dir.parent)
