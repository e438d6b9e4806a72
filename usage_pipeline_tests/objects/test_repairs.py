"""A copy that is damaged, a URL that is, and upkeep: each is mended where that is safe, and told where not."""

from pathlib import Path

import obstore
import pytest

from usage_pipeline.doctor import doctor
from usage_pipeline.lake import compaction
from usage_pipeline.lake.seals import SEALS_FILE
from usage_pipeline.settings import Settings
from usage_pipeline.upkeep import maintain
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.objects.bucket import Bucket
from usage_pipeline_tests.objects.conftest import Host
from usage_pipeline_tests.oracle.points import Killed, killing
from usage_pipeline_tests.world import World, everything, last_days

pytestmark = pytest.mark.marts("cost_daily")


@pytest.fixture
def shared(still_world: World, host: Host) -> Settings:
    """A host that synced two days."""
    assert still_world.sync(host("a"), last_days(2), ["costs"]).errors == []
    return host("a")


def _data_file(settings: Settings, table: str = "usage/costs") -> Path:
    return next(path for path in (settings.lake_dir / table).rglob("*.parquet") if "_delta_log" not in path.parts)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_copy_is_fetched_again(shared: Settings, bucket: Bucket) -> None:
    """One flipped bit in a data file, a log entry and a raw file, and the published file gone: all as it was."""
    before, keys = everything(shared), bucket.keys()
    raw = next(shared.raw_dir.rglob("*.zst"))
    entry = shared.lake_dir / "usage/costs/_delta_log" / f"{0:020d}.json"
    for path in (_data_file(shared), raw, entry):
        _flip(path)
    _data_file(shared, "marts/cost_daily").unlink()
    shared.warehouse_path.unlink()
    assert len(verify(shared).findings) >= 4
    done = doctor(shared)
    assert done.is_cured, (done.after.findings, done.lost)
    assert sum("was fetched again" in one for one in done.repaired) >= 3
    assert everything(shared) == before
    assert bucket.keys() == keys


def test_torn_entries_are_fetched_again_by_themselves(shared: Settings) -> None:
    """What a loss of power left short of the copy's newest files hinders nothing: the next publishing fetches them."""
    before = everything(shared)
    newest = max((shared.lake_dir / "usage/costs/_delta_log").glob("*.json"))
    for path in (newest, _data_file(shared)):
        path.write_bytes(b"")
    refresh(shared)
    assert everything(shared) == before
    assert verify(shared).findings == []


def test_a_copy_without_seals_is_fetched_anew(shared: Settings) -> None:
    """Where nothing tells any more what the files were, the URL does."""
    before = everything(shared)
    (shared.lake_dir / SEALS_FILE).write_text("nonsense")
    done = doctor(shared)
    assert done.is_cured, done.after.findings
    assert done.repaired[0] == "the copy of the lake was fetched anew"
    assert everything(shared) == before


def test_what_is_gone_at_the_url_and_whole_here_is_put_there(shared: Settings, host: Host, bucket: Bucket) -> None:
    """A data file, an entry behind the newest and a raw file come back from the host that has them."""
    names = [
        str(path.relative_to(shared.data_dir))
        for path in (
            _data_file(shared),
            shared.lake_dir / "usage/costs/_delta_log" / f"{0:020d}.json",
            next(shared.raw_dir.rglob("*.zst")),
        )
    ]
    keys = bucket.keys()
    obstore.delete(bucket.store(), names)
    assert {(one.path, one.problem) for one in verify(shared).findings} == {
        (name, "missing at the URL") for name in names
    }
    done = doctor(shared)
    assert done.is_cured, done.after.findings
    assert bucket.keys() == keys
    refresh(host("b"))
    assert everything(host("b")) == everything(shared)


def test_what_is_wrong_at_the_url_is_told_and_left(shared: Settings, host: Host, bucket: Bucket) -> None:
    """A file of another length there stays as it is; who has the right one goes on, another host says what it is."""
    name = str(_data_file(shared).relative_to(shared.data_dir))
    obstore.put(bucket.store(), name, b"not a parquet file")
    (found,) = verify(shared).findings
    assert (found.part, found.path) == ("usage.costs", name)
    assert found.problem.startswith("18 bytes at the URL")
    assert not doctor(shared).is_cured
    assert bytes(obstore.get(bucket.store(), name).bytes()) == b"not a parquet file"
    refresh(shared)
    with pytest.raises(Exception, match=r"is not what was written \(18 bytes, \d+ written\): restore it there"):
        refresh(host("b"))


@pytest.mark.slow
def test_a_read_that_never_reached_the_lake_is_brought_there(still_world: World, host: Host, shared: Settings) -> None:
    """Of a host that was killed between raw and commit, the doctor of any host finishes the work."""
    with pytest.raises(Killed), killing("before the commit"):
        still_world.sync(shared, last_days(3), ["costs"])
    assert [one.problem for one in verify(host("b")).findings if one.part != "seals"]
    done = doctor(host("b"))
    assert done.is_cured, done.after.findings
    refresh(shared)
    assert everything(shared) == everything(host("b"))


@pytest.mark.slow
def test_upkeep_is_done_at_the_url(
    still_world: World, host: Host, shared: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are joined by commits there and removed there and here; what another host says stays, then and later."""
    monkeypatch.setattr(compaction, "_ABOVE", 1)
    assert still_world.sync(shared, last_days(6), ["costs"]).errors == []
    refresh(host("b"))
    before = everything(shared)
    done = maintain(shared)
    assert (done.joined > 0, done.removed) == (True, 0)
    monkeypatch.setattr(compaction, "KEPT_DAYS", 0)
    keys = bucket.keys("lake")
    assert maintain(shared).removed > 0
    assert len(bucket.keys("lake")) < len(keys)
    for name in ("a", "b", "c"):
        refresh(host(name))
        assert everything(host(name)) == before
        assert verify(host(name)).findings == []
