"""What killed writers left behind goes a day later; what anybody needs, or may still be writing, stays."""

import json
import os
import time
from pathlib import Path

import pytest

from usage_pipeline.lake.leftovers import sweep
from usage_pipeline.lake.locks import REBUILD_LOCK, exclusive
from usage_pipeline.lake.seals import Seal

DAY = 86400
TEMPORARY = (
    ".warehouse.duckdb.12.tmp",
    ".warehouse.duckdb.12.tmp.wal",
    "raw/default/costs/2026-11/.20261119T160000Z-1.json.zst.12.tmp",
    "lake/.seals.txt.12.tmp",
    "lake/usage/costs/_delta_log/_commit_5d0c.json.tmp",
    "lake/usage/costs/organization=default/part=2026-11/part-0.zstd.parquet#1",
    "exports/.focus.parquet.12.tmp",
)
KEPT = (
    "warehouse.duckdb",
    ".env",
    "notes.tmp",
    "dagster/.storage.12.tmp",
    "raw/default/costs/2026-11/20261119T160000Z-1.json.zst",
    "raw/default/costs/2026-11/.20261119T160000Z-1.json.zst.1700000000000000000.aside",
    "exports/report#1",
)
ORPHAN = "lake/usage/costs/organization=default/part=2026-11/part-orphan.parquet"
NAMED = "lake/usage/costs/organization=default/part=2026-11/part-named.parquet"
SEALED = "lake/usage/costs/organization=default/part=2026-11/part-sealed.parquet"


def _put(data_dir: Path, *names: str, age_days: float = 2) -> None:
    for name in names:
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age_days * DAY,) * 2)


def _files(data_dir: Path) -> set[str]:
    return {str(path.relative_to(data_dir)) for path in data_dir.rglob("*") if path.is_file()}


def test_temporary_files_of_yesterday_go(tmp_path: Path) -> None:
    """Every temporary file that has not changed for a day is removed, and no other file, however old."""
    _put(tmp_path, *TEMPORARY, *KEPT)
    assert set(sweep(tmp_path, {})) == {tmp_path / name for name in TEMPORARY}
    assert _files(tmp_path) == set(KEPT)


def test_a_temporary_file_may_be_in_use_for_a_day(tmp_path: Path) -> None:
    """A sync ends after six hours: what changed within a day is not touched."""
    _put(tmp_path, *TEMPORARY, ORPHAN, age_days=0.5)
    assert sweep(tmp_path, {}) == []
    assert _files(tmp_path) == {*TEMPORARY, ORPHAN}


def test_data_files_no_table_ever_named_go(tmp_path: Path) -> None:
    """A data file goes only where it has no seal and no entry of its table's log adds it."""
    _put(tmp_path, ORPHAN, NAMED, SEALED)
    log = tmp_path / "lake/usage/costs/_delta_log/00000000000000000000.json"
    log.parent.mkdir()
    path = str(Path(NAMED).relative_to("lake/usage/costs")).replace("=", "%3D")
    log.write_text(json.dumps({"add": {"path": path}}) + "\n")
    assert sweep(tmp_path, {SEALED: (Seal("0", 1),)}) == [tmp_path / ORPHAN]
    assert _files(tmp_path) == {NAMED, SEALED, str(log.relative_to(tmp_path))}


def test_a_workshop_goes_when_nobody_builds_there(tmp_path: Path) -> None:
    """What a killed replay or doctor was building is removed; while one is at work it is left alone."""
    _put(tmp_path, "lake.replay/usage/x.parquet", "lake.doctor/x.parquet")
    with exclusive(tmp_path / REBUILD_LOCK):
        assert sweep(tmp_path, {}) == []
    assert set(sweep(tmp_path, {})) == {tmp_path / "lake.replay", tmp_path / "lake.doctor"}
    assert _files(tmp_path) == {REBUILD_LOCK}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the data folder leads the sweep to no other folder."""
    elsewhere, data_dir = tmp_path / "elsewhere", tmp_path / "data"
    _put(elsewhere, ".seals.txt.12.tmp")
    (data_dir / "lake").mkdir(parents=True)
    (data_dir / "lake" / "usage").symlink_to(elsewhere)
    assert sweep(data_dir, {}) == []
    assert _files(elsewhere) == {".seals.txt.12.tmp"}


def test_what_cannot_be_removed_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on: what it published stays published."""
    _put(tmp_path, "lake/.seals.txt.12.tmp")

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)  # the tests may run as root, whom no right stops
    assert sweep(tmp_path, {}) == []
    assert "left by a killed run and cannot be removed (Permission denied)" in caplog.text
