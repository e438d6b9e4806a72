"""Upkeep: fewer files say the same, and what nobody reads any more goes."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from usage_pipeline.cli.main import app
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake import compaction
from usage_pipeline.settings import Settings
from usage_pipeline.upkeep import maintain
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import everything, rows

pytestmark = [pytest.mark.marts("cost_daily"), pytest.mark.slow]

FIRST = datetime(2026, 10, 28, tzinfo=UTC)  # days of two months
DAYS = 8
FEW = 4  # files of a table that are left alone, instead of forty


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse that grew by a day at a time, so that each day is a file of its own."""
    settings, service = played_settings(tmp_path_factory.mktemp("daily") / "data"), Played(FIRST)
    for day in range(DAYS):
        begin = FIRST + timedelta(days=day)
        service.now = begin + timedelta(days=2)
        amount = {"value": f"{day}.25", "currency": "usd"}
        service.put("costs", int(begin.timestamp()), {"object": "organization.costs.result", "amount": amount})
        service.sync(settings, Window(begin, begin + timedelta(days=1)), "costs")
    return settings.data_dir


@pytest.fixture
def settings(daily: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Such a warehouse for one test."""
    monkeypatch.setattr(compaction, "_ABOVE", FEW)
    settings = played_settings(tmp_path / "data")
    shutil.copytree(daily, settings.data_dir)
    refresh(settings)
    return settings


def _data_files(settings: Settings, table: str) -> set[Path]:
    return {path for path in (settings.lake_dir / table).rglob("*.parquet") if "_delta_log" not in path.parts}


def test_upkeep_leaves_fewer_files_that_say_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the published file open reads on for a week; then the old files go, and all is as recorded."""
    before, told = everything(settings), rows(settings, "from meta.sync_log order by all")
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as reader:
        held = reader.execute("from usage.costs order by date").fetchall()
        done = maintain(settings)
        assert done.joined == 2 * (DAYS - 2)  # of costs and of its mart: a file is left of each month
        assert done.removed == 0
        assert reader.execute("from usage.costs order by date").fetchall() == held
    assert everything(settings) == before
    assert rows(settings, "from meta.sync_log order by all") == told
    assert not verify(settings).findings
    raw = sorted(settings.raw_dir.rglob("*.zst"))
    monkeypatch.setattr(compaction, "KEPT_DAYS", 0)
    done = maintain(settings)
    assert done.joined == 0
    assert done.removed >= 2 * DAYS
    assert done.freed_bytes > 0
    assert len(_data_files(settings, "usage/costs")) == len(_data_files(settings, "marts/cost_daily")) == 2
    assert everything(settings) == before
    assert sorted(settings.raw_dir.rglob("*.zst")) == raw
    assert not verify(settings).findings


def test_upkeep_that_is_killed_is_ended_by_the_next(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while files are removed, nothing is missed, and the next upkeep removes the rest."""
    monkeypatch.setattr(compaction, "KEPT_DAYS", 0)
    unlink, calls = Path.unlink, 0

    def dies(path: Path, missing_ok: bool = False) -> None:
        nonlocal calls
        calls += path.suffix == ".parquet"
        if calls == 5:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            maintain(settings)
    assert not verify(settings).findings
    assert maintain(settings).removed > 0
    assert len(_data_files(settings, "usage/costs")) == 2


def test_upkeep_of_an_older_lake_shortens_its_logs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table whose last checkpoint is many commits ago gets one; what tables say stays, and is as recorded."""
    before = everything(settings)
    monkeypatch.setattr(compaction, "CHECKPOINT_EVERY", 2)
    maintain(settings)
    for table in ("usage/costs", "marts/cost_daily", "meta/sync_log"):
        assert (settings.lake_dir / table / "_delta_log" / "_last_checkpoint").exists()
    assert everything(settings) == before
    assert not verify(settings).findings


def test_upkeep_of_a_damaged_warehouse_changes_nothing(settings: Settings) -> None:
    """An old file may be what mends it, so the doctor comes first."""
    file = max(_data_files(settings, "usage/costs"))
    file.write_bytes(file.read_bytes()[:-1])
    before = _data_files(settings, "")
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        maintain(settings)
    assert _data_files(settings, "") == before


def test_the_command_says_what_it_did(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table, as JSON, and with `--quiet` not at all."""
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(settings.data_dir))
    said = CliRunner().invoke(app, ["maintain", "--json"])
    assert json.loads(said.stdout) == {
        "joined": 2 * (DAYS - 2),
        "removed": 0,
        "freed_bytes": 0,
        "published": str(settings.warehouse_path),
    }
    assert "files fewer to read" in CliRunner().invoke(app, ["maintain"]).stdout
    quiet = CliRunner().invoke(app, ["maintain", "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")
