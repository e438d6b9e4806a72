"""Seals: what is sealed when, and what a damaged or torn file does to it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.seals import read_seals, seal_of
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings

pytestmark = pytest.mark.marts("cost_daily")

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600
DAY = 86400
WINDOW = Window.of_times(FIRST, FIRST + DAY)
RESULT = {"object": "organization.usage.vector_stores.result", "project_id": "p"}


@pytest.fixture
def service() -> Played:
    """A service with one day of one endpoint."""
    service = Played(NOW)
    service.put("vector_stores", FIRST, RESULT | {"usage_bytes": 1})
    return service


@pytest.fixture
def synced(service: Played, data_dir: Path) -> Settings:
    """A warehouse of it."""
    settings = played_settings(data_dir)
    service.sync(settings, WINDOW, "vector_stores")
    return settings


def _restate(service: Played) -> None:
    """A minute later the day holds another value."""
    service.now += timedelta(minutes=1)
    service.put("vector_stores", FIRST, RESULT | {"usage_bytes": 2})


def test_a_sync_seals_every_file_it_wrote(service: Played, synced: Settings) -> None:
    """After a sync each raw file, log entry, data file and the published file has the seal it has."""
    _restate(service)
    service.sync(synced, WINDOW, "vector_stores")
    seals = read_seals(synced.lake_dir)
    assert seals is not None
    written = [path for path in synced.lake_dir.rglob("*") if path.is_file() and path.name != "seals.txt"]
    for path in (*written, *landed_files(synced.raw_dir), synced.warehouse_path):
        assert seal_of(path) in seals[str(path.relative_to(synced.data_dir))], path


def test_a_commit_in_the_making_is_not_sealed(synced: Settings) -> None:
    """What a killed writer left of a commit will be removed one day: no seal may miss it then."""
    log = synced.lake_dir / "usage" / "vector_stores" / "_delta_log"
    for name in ("00000000000000000009.json#1", "_commit_5d0c.json.tmp"):
        (log / name).write_text("{")
    refresh(synced)
    assert not [name for name in read_seals(synced.lake_dir) or () if "#" in name or "_commit" in name]


def test_damaged_seals_are_refused_and_made_anew(synced: Settings) -> None:
    """One changed byte makes the file of seals invalid; the next refresh compares everything and seals anew."""
    path = synced.lake_dir / "seals.txt"
    good = path.read_bytes()
    path.write_bytes(good[:-3] + b"0" + good[-2:])
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        read_seals(synced.lake_dir)
    refresh(synced)
    sealed = read_seals(synced.lake_dir)
    assert sealed is not None
    assert set(sealed) == {line.split(" ", 2)[2] for line in good.decode().splitlines()[1:]}


def test_a_day_torn_before_it_was_sealed_is_not_sealed(
    service: Played, synced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other rows in a file that has no seal yet, as after a loss of power, stop the refresh."""
    _restate(service)
    with monkeypatch.context() as patched:
        patched.setattr("usage_pipeline.sync.refresh", lambda *_: None)
        service.sync(synced, WINDOW, "vector_stores")
    table = Lake(synced.lake_dir).usage_tables()["vector_stores"]
    (newest,) = table.files(table.open())
    seals = read_seals(synced.lake_dir) or {}
    older = next(
        synced.data_dir / name
        for name in seals
        if name.startswith("lake/usage/vector_stores/org") and not newest.endswith(name)
    )
    Path(newest).write_bytes(older.read_bytes())
    with pytest.raises(LakeDamaged, match=r"usage.vector_stores is not what was written .*usage-pipeline doctor"):
        refresh(synced)
    assert read_seals(synced.lake_dir) == seals


def test_a_raw_file_that_may_be_taken_back_is_not_sealed(synced: Settings) -> None:
    """A landed read the coverage log does not have gets no seal: its writer may still discard it."""
    (landed,) = landed_files(synced.raw_dir)
    other = landed.with_name(landed.name.replace("-", "-another", 1))
    other.write_bytes(landed.read_bytes())
    refresh(synced)
    seals = read_seals(synced.lake_dir) or {}
    assert str(landed.relative_to(synced.data_dir)) in seals
    assert str(other.relative_to(synced.data_dir)) not in seals
