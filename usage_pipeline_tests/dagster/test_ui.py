"""`usage-pipeline ui`: the real webserver and daemon, driven through GraphQL as the browser does."""

import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from usage_pipeline.cli.ui import environment, serve_ui
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings
from usage_pipeline_tests.dagster.stage import Stage, recent
from usage_pipeline_tests.dagster.ui_driver import ASSETS, Ui, serving, until
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.slow


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
        assert _listening_addresses(ui.port) == {"0100007F"}
        _see_foreign_pages_refused(ui.port)
        backfill = ui.backfill(days)
        until(lambda: [run for run in ui.runs() if run["status"] in ("SUCCESS", "FAILURE")], 400, child)
        (run,) = ui.runs()
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert run["status"] == "SUCCESS"
        assert {name: tags[name] for name in range_tags(window)} == range_tags(window)
        for path in ASSETS:
            (span,) = ui.spans(path)
            assert span == {"startKey": days[0], "endKey": days[-1], "status": "MATERIALIZED"}, path
        known = "select count(*) from meta.coverage"
        assert rows(stage.settings, known) == [(len(ENDPOINTS) * 30,)]
        _cancel_one(stage, ui, child)
        until(lambda: ui.backfill_status(backfill).startswith("COMPLETED"), 120, child)
        assert ui.backfill_status(backfill) == "COMPLETED_SUCCESS"


def _see_foreign_pages_refused(port: int) -> None:
    """What a page of another site can send reaches no GraphQL; `unit/test_own_pages.py` has all the forms."""
    url = f"http://127.0.0.1:{port}/graphql"
    mutation = 'mutation { terminateRun(runId: "x") { __typename } }'
    with httpx.Client(trust_env=False) as browser:
        foreign = [
            browser.get(url, params={"query": mutation}),
            browser.post(url, json={"query": mutation}, headers={"origin": "https://evil.example"}),
            browser.post(url, json={"query": mutation}, headers={"host": "evil.example"}),
        ]
        assert [(one.status_code, one.text.split()[0]) for one in foreign] == [(403, "Refused:")] * 3


def _cancel_one(stage: Stage, ui: Ui, child: "subprocess.Popen[bytes]") -> None:
    """Start a run whose answers do not come, cancel it in the UI, and see it end."""
    stage.gate.delay_seconds = 90.0
    stage.gate.seen.clear()
    run = ui.launch(recent(1))
    until(lambda: len(stage.gate.seen) >= 8, 120, child)
    began = time.monotonic()
    ui.terminate(run)
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
