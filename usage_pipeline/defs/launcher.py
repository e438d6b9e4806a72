"""The launcher of runs that dagster.yaml names: Dagster's own for local processes, able to tell that a run is dead.

Put the telling here. Dagster's launcher cannot: where the code server was killed with its run, nobody is left to notice
it, and the run would stay STARTED, and in one of the two places for runs, until the longest time a run may take.
"""

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import ConfigurableClassData, deserialize_value

from usage_pipeline.defs.alive import is_worked_on
from usage_pipeline.defs.event_log import reuse_engines


class WatchedRunLauncher(DefaultRunLauncher):
    """Runs are processes of the code server; run monitoring asks whether they still live."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        reuse_engines()  # a run's planned events are written where it is asked for, by the daemon or the webserver

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """A run lives while its code server has it (and notices its end), or while one of its processes does."""
        if self._is_with_its_server(run) or is_worked_on(self._instance, run.run_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process and its code server are gone")

    def _is_with_its_server(self, run: DagsterRun) -> bool:
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:  # not launched by a server: `demo` runs in its own process
            return False
        try:
            found = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
        except DagsterUserCodeUnreachableError:
            return False
        return run.run_id in found.current_runs
