"""`usage-pipeline ui`: the real webserver and daemon, driven through GraphQL as the browser does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from usage_pipeline.cli.ui import environment, serve_ui
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
from usage_pipeline_tests.dagster.stage import Stage, recent
from usage_pipeline_tests.world import rows

T = TypeVar("T")

_SERVE = """
import sys
from usage_pipeline.cli.ui import serve_ui
from usage_pipeline.settings import Settings
sys.exit(serve_ui(Settings.from_env(), port=int(sys.argv[1])))
"""
_ASSETS = [["usage", name] for name in ENDPOINTS] + [["marts", name] for name in load_marts()] + [["warehouse"]]
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
_RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
_PARTITIONS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetPartitionStatuses {
    ... on TimePartitionStatuses { ranges { startKey endKey status } } } } }
}
"""
_LAUNCH = """
mutation ($tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: "usage_pipeline.definitions", repositoryName: "__repository__", jobName: "sync_usage"
    },
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
_TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"


class Ui:
    """A running `ui` command."""

    def __init__(self, port: int) -> None:
        self.port = port

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

    def backfill(self, days: list[str]) -> str:
        """Launch a backfill of all assets over these partitions; returns its id."""
        assets = [{"path": path} for path in _ASSETS]
        launched = self.ask(_BACKFILL, days=days, assets=assets)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def launch(self, window: Window) -> str:
        """Launch the job over a window's days; returns the run's id."""
        tags = [{"key": name, "value": value} for name, value in range_tags(window).items()]
        launched = self.ask(_LAUNCH, tags=tags)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill_status(self, backfill: str) -> str:
        """Its state as the page shows it."""
        return str(self.ask(_STATUS, id=backfill)["partitionBackfillOrError"]["status"])

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
def serving(settings: Settings, folder: Path) -> Iterator[tuple[Ui, "subprocess.Popen[bytes]"]]:
    """The command in a process of its own, in a folder that is not the repository; stopped with SIGTERM."""
    ui = Ui(_free_port())
    env = {**os.environ, **environment(settings)}
    child = subprocess.Popen([sys.executable, "-c", _SERVE, str(ui.port)], env=env, cwd=folder)
    try:
        until(lambda: _answers(ui.port), 120, child)
        yield ui, child
    finally:
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


def _listening_addresses(port: int) -> set[str]:
    """Hex addresses (as Linux shows them) that listen on a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, hexed = local.split(":")
            if state == "0A" and int(hexed, 16) == port:
                found.add(address)
    return found


def test_a_backfill_is_one_run_and_a_cancelled_run_ends_soon(stage: Stage, tmp_path: Path) -> None:
    """Thirty days backfilled in the UI end in one run with each partition shown; cancelling ends a run in 10 s."""
    window = recent(30)
    days = [day.isoformat() for day in window.dates()]
    with serving(stage.settings, tmp_path) as (ui, child):
        until(lambda: _is_loaded(ui), 120, child)
        assert _listening_addresses(ui.port) == {"0100007F"}
        backfill = ui.backfill(days)
        until(lambda: [run for run in ui.runs() if run["status"] in ("SUCCESS", "FAILURE")], 400, child)
        (run,) = ui.runs()
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert run["status"] == "SUCCESS"
        assert {name: tags[name] for name in range_tags(window)} == range_tags(window)
        for path in _ASSETS:
            node = ui.ask(_PARTITIONS, key={"path": path})["assetNodeOrError"]
            (span,) = node["assetPartitionStatuses"]["ranges"]
            assert span == {"startKey": days[0], "endKey": days[-1], "status": "MATERIALIZED"}, path
        known = "select count(*) from meta.coverage"
        assert rows(stage.settings, known) == [(len(ENDPOINTS) * 30,)]
        _cancel_one(stage, ui, child)
        until(lambda: ui.backfill_status(backfill).startswith("COMPLETED"), 120, child)
        assert ui.backfill_status(backfill) == "COMPLETED_SUCCESS"


def _cancel_one(stage: Stage, ui: Ui, child: "subprocess.Popen[bytes]") -> None:
    """Start a run whose answers do not come, cancel it in the UI, and see it end."""
    stage.gate.delay_seconds = 90.0
    stage.gate.seen.clear()
    run = ui.launch(recent(1))
    until(lambda: len(stage.gate.seen) >= 8, 120, child)
    began = time.monotonic()
    ui.ask(_TERMINATE, id=run)
    until(lambda: ui.runs()[0]["status"] == "CANCELED", 30, child)
    assert time.monotonic() - began < 10
    stage.gate.delay_seconds = 0.0


def test_a_taken_port_is_said_before_anything_starts(settings: Settings) -> None:
    """A port in use is refused with the way out; nothing was created."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FixConfig, match=f"port {port} .* choose another port with --port"):
            serve_ui(settings, port)
    assert not (settings.data_dir / "dagster").exists()


def test_children_get_the_checked_settings(settings: Settings) -> None:
    """The environment for the children gives the same settings back, with paths that hold in any folder."""
    env = environment(settings)
    again = Settings(_env_file=None, **env)
    assert again == settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
