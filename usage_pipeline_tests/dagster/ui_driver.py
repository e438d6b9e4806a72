"""The real `usage-pipeline ui` in a process of its own, driven through GraphQL as the browser does.

Put starting, asking and waiting here; no test and no assertion about the pipeline.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from usage_pipeline.cli.ui import environment
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window

T = TypeVar("T")

DEFINITIONS = "usage_pipeline.definitions"
_SERVE = """
import sys
from usage_pipeline.cli import ui
from usage_pipeline.settings import Settings
ui._DEFINITIONS = ("-m", sys.argv[2])
sys.exit(ui.serve_ui(Settings.from_env(), port=int(sys.argv[1])))
"""
ASSETS = [["usage", name] for name in ENDPOINTS] + [["marts", name] for name in load_marts()] + [["warehouse"]]
_LOADED = (
    "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename } } } } }"
)
_BACKFILL = """
mutation ($days: [String!]!, $assets: [AssetKeyInput!]!) {
  launchPartitionBackfill(backfillParams: {partitionNames: $days, assetSelection: $assets}) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""
_RUNS = "{ runsOrError { ... on Runs { results { runId status startTime endTime tags { key value } } } } }"
_PARTITIONS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetPartitionStatuses {
    ... on TimePartitionStatuses { ranges { startKey endKey status } } } } }
}
"""
_LAUNCH = """
mutation ($location: String!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: $location, repositoryName: "__repository__", jobName: "sync_usage"},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
_TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"


class Ui:
    """A running `ui` command."""

    def __init__(self, port: int, location: str) -> None:
        self.port = port
        self._location = location

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def backfill(self, days: list[str], assets: Sequence[list[str]] = ASSETS) -> str:
        """Launch a backfill of assets over these partitions; returns its id."""
        selected = [{"path": path} for path in assets]
        launched = self.ask(_BACKFILL, days=days, assets=selected)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def launch(self, window: Window) -> str:
        """Launch the job over a window's days; returns the run's id."""
        tags = [{"key": name, "value": value} for name, value in range_tags(window).items()]
        launched = self.ask(_LAUNCH, location=self._location, tags=tags)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def terminate(self, run: str) -> None:
        """Cancel a run."""
        self.ask(_TERMINATE, id=run)

    def backfill_status(self, backfill: str) -> str:
        """Its state as the page shows it."""
        return str(self.ask(_STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    def spans(self, asset: list[str]) -> list[dict[str, str]]:
        """The runs of partitions of an asset that are in one state."""
        node = self.ask(_PARTITIONS, key={"path": asset})["assetNodeOrError"]
        return list(node["assetPartitionStatuses"]["ranges"])

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return list(self.ask(_RUNS)["runsOrError"]["results"])


def until(probe: Callable[[], T], seconds: float, child: "subprocess.Popen[bytes]") -> T:
    """Poll until something true is found; the deadline is generous, the interval short."""
    give_up_at = time.monotonic() + seconds
    while True:
        assert child.poll() is None, "the ui ended by itself"
        found = probe()
        if found:
            return found
        assert time.monotonic() < give_up_at, f"not within {seconds} s"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    settings: Settings, folder: Path, definitions: str = DEFINITIONS
) -> Iterator[tuple[Ui, "subprocess.Popen[bytes]"]]:
    """The command in a process of its own, in a folder that is not the repository; stopped with SIGTERM.

    One that was killed meanwhile is left as it is.
    """
    ui = Ui(_free_port(), definitions)
    env = {**os.environ, **environment(settings), "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", _SERVE, str(ui.port), definitions], env=env, cwd=folder)
    try:
        until(lambda: _answers(ui.port), 120, child)
        until(lambda: _is_loaded(ui), 120, child)
        yield ui, child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                assert child.wait(timeout=60) == 0
            finally:
                child.kill()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_loaded(ui: Ui) -> bool:
    entries = ui.ask(_LOADED)["workspaceOrError"]["locationEntries"]
    if not all(entry["loadStatus"] == "LOADED" for entry in entries):
        return False
    assert [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]
    return True
