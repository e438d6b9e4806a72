"""Runs whose processes are gone are told from those at work. The killing itself is kills.py's."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from usage_pipeline.defs.alive import is_worked_on, working
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.launcher import WatchedRunLauncher
from usage_pipeline_tests.dagster.stage import Stage, recent

_GONE_SERVER = '{"host": "localhost", "socket": "/nowhere/of-a-code-server-that-was-killed"}'


@pytest.mark.parametrize("server", [None, _GONE_SERVER], ids=["in the demo's process", "in a code server's"])
def test_a_run_whose_process_is_gone_is_told(data_dir: Path, server: str | None) -> None:
    """The shipped instance says so of a run that nobody holds, whatever a killed process left, and not before."""
    tags = {".dagster/grpc_info": server} if server else {}
    run = dg.DagsterRun(job_name="sync_usage", status=dg.DagsterRunStatus.STARTED, tags=tags)
    with dg.DagsterInstance.from_config(str(prepare_home(data_dir))) as instance:
        instance.add_run(run)
        launcher = instance.run_launcher
        assert isinstance(launcher, WatchedRunLauncher)
        with working(instance, run.run_id):
            assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        left_behind = data_dir / "dagster" / "working" / f"{run.run_id}.1.lock"
        left_behind.touch()
        assert launcher.check_run_worker_health(run).status == WorkerStatus.NOT_FOUND
        assert not left_behind.exists()


def test_a_run_holds_its_lock_while_it_works(stage: Stage) -> None:
    """From its first step on a run can be seen to live; afterwards nothing of it is left."""
    seen: list[bool] = []

    def look(_news: object) -> None:
        (run,) = stage.instance.get_runs()
        seen.append(is_worked_on(stage.instance, run.run_id))

    assert stage.run(recent(1), ["usage/images"], on_event=look).success
    assert seen == [True]
    assert list((stage.settings.data_dir / "dagster" / "working").iterdir()) == []
