"""Symbolic links planted inside the data folder: no write, and no tidying up, goes through them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from usage_pipeline.errors import LakeUnwritable
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.faults.stated import NOW, StatedService
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("usage_daily")

TABLE = "lake/usage/vector_stores"
LEVEL = "select distinct usage_bytes from usage.vector_stores"
PLACES = [
    "lake",
    "lake/usage",
    TABLE,
    f"{TABLE}/_delta_log",
    f"{TABLE}/organization=default",
    f"{TABLE}/organization=default/part=2026-11",
    "lake/meta/sync_log",
    "lake/marts/usage_daily",
    "lake/seals.txt",
    "raw",
    "warehouse.duckdb",
    ".warehouse.lock",
    ".replay.lock",
]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one state synced."""
    data_dir = tmp_path_factory.mktemp("synced") / "data"
    StatedService(NOW).sync_state(played_settings(data_dir), 1)
    return data_dir


def _plant(data_dir: Path, name: str) -> Path:
    """Move a file or folder elsewhere and leave a link in its place; returns where it is now."""
    elsewhere = data_dir.parent / "elsewhere"
    (data_dir / name).rename(elsewhere)
    (data_dir / name).symlink_to(elsewhere)
    return elsewhere


def _content(place: Path) -> dict[str, bytes]:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


def _sync(settings: Settings) -> None:
    service = StatedService(NOW)
    service.state(1)
    service.sync_state(settings, 2)


def _refused(settings: Settings, name: str, write: Callable[[Settings], object]) -> None:
    with pytest.raises(LakeUnwritable, match=r"is a symbolic link to .* nothing is written through links") as caught:
        write(settings)
    assert str(settings.data_dir / name) in str(caught.value)


@pytest.mark.parametrize("name", PLACES)
def test_f11_a_planted_link_is_refused_and_what_it_leads_to_is_untouched(
    synced: Path, data_dir: Path, name: str
) -> None:
    """A sync, a replay and a publish name the link and the way out, and change nothing where it leads."""
    settings = played_settings(data_dir)
    shutil.copytree(synced, data_dir)
    elsewhere = _plant(data_dir, name)
    before = _content(elsewhere)
    if name not in (".warehouse.lock", ".replay.lock"):
        _refused(settings, name, _sync)
    if name != ".replay.lock":
        _refused(settings, name, refresh)
    if name != ".warehouse.lock":
        _refused(settings, name, replay)
    assert _content(elsewhere) == before


def test_f11_a_planted_link_deep_in_raw_is_refused(synced: Path, data_dir: Path) -> None:
    """A month's folder of the raw archive that leads elsewhere fails its endpoint; nothing is landed there."""
    settings = played_settings(data_dir)
    shutil.copytree(synced, data_dir)
    (landed,) = landed_files(settings.raw_dir)
    elsewhere = _plant(data_dir, str(landed.parent.relative_to(data_dir)))
    before = _content(elsewhere)
    with pytest.raises(AssertionError, match=r"2026-11 is a symbolic link to"):
        _sync(settings)
    assert _content(elsewhere) == before


def test_f11_a_data_folder_reached_through_a_link_works(synced: Path, data_dir: Path) -> None:
    """The data folder, or a folder above it, may be a link, and so may a file that people write."""
    volume = data_dir.parent / "volume"
    shutil.copytree(synced, volume / "data")
    (data_dir.parent / "mounted").symlink_to(volume)
    data_dir.symlink_to(data_dir.parent / "mounted" / "data")
    (volume / "budgets.csv").write_text("scope,amount,currency\norganization,5,usd\n", encoding="utf-8")
    (data_dir / "budgets.csv").symlink_to(volume / "budgets.csv")
    settings = played_settings(data_dir)
    _sync(settings)
    assert rows(settings, LEVEL) == [(2,)]
    assert replay(settings).rows == 2
