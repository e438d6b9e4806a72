"""Dagster's home is made, kept up to date, and never takes away what someone edited."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.tables import make_tables


def test_it_is_private_and_complete(tmp_path: Path) -> None:
    """The folder is the owner's alone and holds settings Dagster accepts."""
    home = prepare_home(tmp_path)
    assert home == tmp_path / "dagster"
    assert home.stat().st_mode & 0o777 == 0o700
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds > 0
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] > 0


def test_its_tables_are_there_before_services_start(tmp_path: Path) -> None:
    """Webserver and daemon find the tables of runs, events and schedules made, and make none at the same moment."""
    home = prepare_home(tmp_path)
    make_tables(home)
    found = {}
    for path in home.rglob("*.db"):
        with closing(sqlite3.connect(path)) as con:
            found[path.name] = {name for (name,) in con.execute("select name from sqlite_master")}
    assert {"runs", "daemon_heartbeats"} <= found["runs.db"]
    assert {"event_logs", "asset_keys", "concurrency_slots"} <= found["index.db"]
    assert {"jobs", "job_ticks"} <= found["schedules.db"]


def test_our_own_older_file_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file nobody touched follows the version that is installed."""
    older = tmp_path / "older"
    older.mkdir()
    (older / "dagster.yaml").write_text("# an older version\n")
    with monkeypatch.context() as patched:
        patched.setattr("usage_pipeline.defs.home.files", lambda _package: older)
        assert (prepare_home(tmp_path) / "dagster.yaml").read_text() == "# an older version\n"
    assert "telemetry" in (prepare_home(tmp_path) / "dagster.yaml").read_text()


def test_an_edited_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What someone wrote is kept; a newer version of ours is put beside it, said once."""
    edited = prepare_home(tmp_path) / "dagster.yaml"
    edited.write_text("# mine\n")
    with caplog.at_level(logging.WARNING):
        prepare_home(tmp_path)
        assert not caplog.records
        newer = tmp_path / "newer"
        newer.mkdir()
        (newer / "dagster.yaml").write_text("# newer\n")
        monkeypatch.setattr("usage_pipeline.defs.home.files", lambda _package: newer)
        prepare_home(tmp_path)
        prepare_home(tmp_path)
    assert edited.read_text() == "# mine\n"
    assert edited.with_name("dagster.yaml.new").read_text() == "# newer\n"
    assert len(caplog.records) == 1
