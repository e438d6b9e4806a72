"""Data folders of other versions: a newer one is refused whole, an older one is read and grows the columns it lacks."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from usage_pipeline.doctor import doctor
from usage_pipeline.errors import LakeDamaged, NewerFormat
from usage_pipeline.lake.landing import landed_files, load
from usage_pipeline.lake.seals import SEALS_FILE, change_seals, read_seals
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.faults.stated import DAY, FIRST, NOW, WINDOW, StatedService
from usage_pipeline_tests.oracle.points import Killed, killing
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("usage_daily")

ADDED_SINCE = {  # what the older version did not have, by table
    "usage/completions": ["extras", "api_source", "input_cache_write_30m_tokens"],
    "meta/sync_log": ["drift", "notes"],
}
SEEN = "select date::varchar, input_tokens, api_source, input_cache_write_30m_tokens from usage.completions order by 1"
OLD = [("2026-11-02", 1, None, None), ("2026-11-03", 1, None, None)]
NEW = [("2026-11-02", 2, "responses", 7), ("2026-11-03", 2, "responses", 7)]


class _Service(StatedService):
    """Completions of two days; in its second state with fields that the older version did not know."""

    def state(self, value: int) -> None:
        super().state(value)
        fields = {"object": "organization.usage.completions.result", "output_tokens": 1, "num_model_requests": 1}
        if value > 1:
            fields |= {"api_source": "responses", "input_cache_write_30m_tokens": 7}
        for n in range(2):
            self.put("completions", FIRST + n * DAY, {**fields, "input_tokens": value})

    def sync_state(self, settings: Settings, value: int) -> None:
        self.state(value)
        self.sync(settings, WINDOW, "completions")


def _content(data_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of this version with one state synced."""
    data_dir = tmp_path_factory.mktemp("synced") / "data"
    _Service(NOW).sync_state(played_settings(data_dir), 1)
    return data_dir


def _sync(settings: Settings) -> None:
    service = _Service(NOW)
    service.state(1)
    service.sync_state(settings, 2)


@pytest.mark.parametrize("work", [_sync, refresh, replay, doctor, verify], ids=lambda work: work.__name__.strip("_"))
def test_e31_a_newer_lake_is_refused_and_nothing_is_written(
    synced: Path, data_dir: Path, work: Callable[[Settings], object]
) -> None:
    """Every door says which format the lake is in, which this version knows, and the way out; no byte changes."""
    shutil.copytree(synced, data_dir)
    seals = data_dir / "lake" / SEALS_FILE
    body = b"what only a newer version understands\n"
    seals.write_bytes(b"usage_pipeline seals 2 %s\n%s" % (hashlib.sha256(b"2\n" + body).hexdigest().encode(), body))
    before = _content(data_dir)
    with pytest.raises(NewerFormat, match=r"lake is in format 2, .* up to format 1: upgrade it, or set USAGE_PIPELINE"):
        work(played_settings(data_dir))
    assert _content(data_dir) == before


def test_e31_a_newer_raw_file_is_refused_and_not_put_aside(synced: Path, data_dir: Path) -> None:
    """A raw file that a newer version wrote is no damage: a replay says so and changes nothing."""
    shutil.copytree(synced, data_dir)
    settings = played_settings(data_dir)
    (path,) = landed_files(settings.raw_dir)
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        head, _, bodies = stream.read().partition(b"\n")
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as out:
        out.write(json.dumps({**json.loads(head), "format": 2}).encode() + b"\n" + bodies)
    before = _content(data_dir)
    with pytest.raises(NewerFormat, match=r"json.zst is in format 2, .* up to format 1"):
        load(path)
    with pytest.raises(NewerFormat):
        replay(settings)
    assert _content(data_dir) == before


@pytest.mark.parametrize("digit", [b"0", b"3"])
def test_e31_a_damaged_record_is_not_taken_for_a_newer_one(synced: Path, data_dir: Path, digit: bytes) -> None:
    """One flipped bit in the number is damage, which the doctor mends."""
    shutil.copytree(synced, data_dir)
    seals = data_dir / "lake" / SEALS_FILE
    whole = seals.read_bytes()
    seals.write_bytes(whole.replace(b"seals 1 ", b"seals %s " % digit, 1))
    with pytest.raises(LakeDamaged, match="is not what was written"):
        read_seals(seals.parent)
    assert doctor(played_settings(data_dir)).is_cured
    assert seals.read_bytes().startswith(b"usage_pipeline seals 1 ")


def _as_older(data_dir: Path) -> Settings:
    """Write tables as a version did that lacked some of the columns; the file of seals is of what is there."""
    for name, columns in ADDED_SINCE.items():
        place = data_dir / "lake" / name
        at = DeltaTable(place)
        held, parts = at.to_pyarrow_table().drop_columns(columns), at.metadata().partition_columns
        shutil.rmtree(place)
        write_deltalake(place, held, partition_by=parts or None)
    settings = played_settings(data_dir)
    change_seals(settings.lake_dir, lambda _: {})
    refresh(settings)
    assert not _columns(settings) & set(ADDED_SINCE["usage/completions"])
    return settings


def _columns(settings: Settings) -> set[str]:
    """The columns of the stored table."""
    return {field.name for field in DeltaTable(settings.lake_dir / "usage" / "completions").schema().fields}


@pytest.fixture(scope="module")
def older(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of an older version."""
    data_dir = tmp_path_factory.mktemp("older") / "data"
    shutil.copytree(synced, data_dir)
    _as_older(data_dir)
    return data_dir


def test_e30_an_older_lake_is_read_and_grows_with_the_next_write(older: Path, data_dir: Path) -> None:
    """Columns the older version lacked are null; a sync adds them, and all is as it was recorded before and after."""
    shutil.copytree(older, data_dir)
    settings = played_settings(data_dir)
    refresh(settings)
    assert rows(settings, SEEN) == OLD
    assert verify(settings).findings == []
    _sync(settings)
    assert rows(settings, SEEN) == NEW
    assert set(ADDED_SINCE["usage/completions"]) <= _columns(settings)
    # The new column is a dimension: a group that is told finer is another group.
    changes = "select change, count(*) from meta.restatements group by all order by all"
    assert rows(settings, changes) == [("deleted", 2), ("inserted", 2)]
    assert verify(settings).findings == []


@pytest.mark.parametrize("point", ["after the restatements", "before the commit", "after the commit"])
def test_e30_killed_while_it_grows_it_is_old_or_new(older: Path, data_dir: Path, point: str) -> None:
    """A sync killed at a step leaves the old rows or the new ones; the next one finishes it."""
    shutil.copytree(older, data_dir)
    settings, service = played_settings(data_dir), _Service(NOW)
    service.state(1)
    with pytest.raises(Killed), killing(point):
        service.sync_state(settings, 2)
    refresh(settings)
    assert rows(settings, SEEN) in (OLD, NEW)
    service.sync_state(settings, 2)
    assert rows(settings, SEEN) == NEW
    assert verify(settings).findings == []
