"""One host with its lake on an object store: the same as a lake in a folder."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig, LakeDamaged
from usage_pipeline.lake import mirror
from usage_pipeline.lake.dims import DIMS, read_dim
from usage_pipeline.lake.mirror import RECORD
from usage_pipeline.lake.names import replace_names
from usage_pipeline.lake.store import Lake
from usage_pipeline.name_lists import LISTS
from usage_pipeline.records import ListedName
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.objects.bucket import Application, Bucket
from usage_pipeline_tests.objects.conftest import Host
from usage_pipeline_tests.world import NOW, World, everything, last_days, rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.marts("cost_daily", "usage_daily")


def test_it_says_the_same_as_a_lake_in_a_folder(still_world: World, host: Host, data_dir: Path, bucket: Bucket) -> None:
    """Usage, names and marts are row for row the same, also on a host that only publishes; the truth is at the URL."""
    local, shared = still_world.settings(data_dir), host("a")
    for settings in (local, shared):
        report = still_world.sync(settings, last_days(3), lists=list(LISTS.values()))
        assert report.errors == []
    schemas = ("usage", "marts", "dims")
    assert everything(shared, schemas) == everything(local, schemas)
    refresh(host("b"))  # from an empty folder
    assert everything(host("b"), schemas) == everything(local, schemas)
    assert verify(host("b")).findings == verify(shared).findings == []
    keys = bucket.keys()
    assert RECORD in keys
    assert {key.split("/")[1] for key in keys if key.startswith("lake/")} == {"usage", "dims", "meta", "marts"}
    here = {str(path.relative_to(shared.data_dir)) for path in shared.raw_dir.rglob("*.zst")}
    assert here == {key for key in keys if key.startswith("raw/")} != set()


def test_nothing_new_writes_nothing(still_world: World, host: Host, bucket: Bucket) -> None:
    """A publishing of what is published asks the store only whether something is new."""
    shared = host("a")
    still_world.sync(shared, last_days(2), ["costs", "completions"])
    bucket.asked.clear()
    refresh(shared)
    assert bucket.asked["PUT"] == 0
    assert bucket.asked["GET"] <= 3  # budgets.csv, prices.csv and tags.csv, which are not there


def test_the_published_file_needs_no_network(still_world: World, host: Host, bucket: Bucket) -> None:
    """`sql` reads the files of this host: no extension of DuckDB, and no request."""
    shared = host("a")
    still_world.sync(shared, last_days(2), ["costs"])
    bucket.asked.clear()
    assert rows(shared, "select count(*) > 0 from usage.costs") == [(True,)]
    assert bucket.asked == Counter()


def test_without_the_url_nothing_new_is_imported() -> None:
    """A lake in a folder needs neither the extra nor the time to load it."""
    code = (
        "import usage_pipeline.sync, usage_pipeline.replay, usage_pipeline.doctor, sys; print('obstore' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "False"


def test_a_missing_extra_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where obstore is not installed, the error says what to install."""
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(FixConfig, match=r"needs the extra `store`: pip install 'usage-pipeline\[store\]'"):
        refresh(host("a"))


def test_a_working_copy_is_not_taken_for_the_lake(still_world: World, host: Host) -> None:
    """Without the setting, or with another URL, nothing is written into the copy, nor is another lake made its."""
    shared = host("a")
    still_world.sync(shared, last_days(2), ["costs"])
    alone = still_world.settings(shared.data_dir)
    with pytest.raises(FixConfig, match=r"is a working copy of the lake at s3://"):
        still_world.sync(alone, last_days(3), ["costs"])
    with pytest.raises(FixConfig, match=r"is a working copy of the lake at s3://"):
        Lake(shared.lake_dir).usage(ENDPOINTS["images"]).create()
    other = still_world.settings(shared.data_dir, USAGE_PIPELINE_LAKE_URL="s3://bucket-of-another/prefix")
    with pytest.raises(FixConfig, match="is a working copy of the lake at"):
        still_world.sync(other, last_days(2), ["costs"])


def test_a_lake_in_a_folder_is_not_put_upon_another(still_world: World, data_dir: Path, bucket: Bucket) -> None:
    """A folder that has a lake of its own is refused, and nothing is written to the URL."""
    local = still_world.settings(data_dir)
    still_world.sync(local, last_days(2), ["costs"])
    shared = still_world.settings(data_dir, USAGE_PIPELINE_LAKE_URL=bucket.url)
    with pytest.raises(FixConfig, match="holds a lake of its own"):
        still_world.sync(shared, last_days(2), ["costs"])
    assert bucket.keys() == set()


def test_a_lake_that_went_away_is_not_begun_anew(still_world: World, host: Host, bucket: Bucket) -> None:
    """Where what was copied is at the URL no more, a new process says so and stores nothing there."""
    shared = host("a")
    still_world.sync(shared, last_days(2), ["costs"])
    obstore.delete(bucket.store(), sorted(bucket.keys()))
    mirror._mirror.cache_clear()  # what another process has not looked at yet
    with pytest.raises(LakeDamaged, match=r"is gone since .* was copied from it: where that is meant, remove the copy"):
        still_world.sync(shared, last_days(2), ["costs"])
    assert bucket.keys() == set()


@pytest.mark.slow
def test_files_people_write_lie_at_the_url(still_world: World, host: Host, bucket: Bucket) -> None:
    """A budget counts for every host, so it is read from the URL; one that lies on a host alone is refused."""
    shared = host("a")
    still_world.sync(shared, last_days(2), ["costs"])
    line = "scope,month,amount,currency\norganization,2026-11,100,usd\n"
    (shared.data_dir / "budgets.csv").write_text(line)
    with pytest.raises(FixConfig, match=r"budgets.csv lies on this host alone.*put it to s3://"):
        refresh(shared)
    obstore.put(bucket.store(), "budgets.csv", line.encode())
    refresh(shared)
    refresh(host("b"))
    assert rows(host("b"), "select amount::int from dims.budgets") == [(100,)]


def test_a_store_without_conditional_puts_is_refused(still_world: World, host: Host, bucket: Bucket) -> None:
    """Where the second of two puts of a new object wins, too, nothing is stored: two hosts would lose commits."""

    def ignoring(request: dict[str, Any], answer: Application) -> Application:
        request.pop("HTTP_IF_NONE_MATCH", None)
        return answer

    bucket.spoil = ignoring
    report = still_world.sync(host("a"), last_days(2), ["costs"])
    assert "use one that honours `If-None-Match: *`" in str(report.errors[0])
    assert bucket.keys() == {RECORD}


def test_a_newer_format_at_the_url_is_not_written(still_world: World, host: Host, bucket: Bucket) -> None:
    """What a newer version wrote is left alone."""
    obstore.put(bucket.store(), RECORD, b'{"format": 99, "lake": "x"}')
    with pytest.raises(FixConfig, match="is in format 99, written by a newer usage_pipeline"):
        still_world.sync(host("a"), last_days(2), ["costs"])


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "s3://", "s3://k:secret@bucket/x", "s3://bucket/../x", "s3://bucket/x?sig=1", "/data"]
)
def test_another_address_is_refused(url: str) -> None:
    """Only places of object stores, and none with credentials in it, which are not quoted."""
    with pytest.raises(ValueError, match="credentials are taken from the environment") as wrong:
        Settings(_env_file=None, USAGE_PIPELINE_LAKE_URL=url)
    assert "secret" not in str(wrong.value)


def _names(lake: Lake) -> set[tuple[str, str]]:
    return {(row["organization"], row["id"]) for row in read_dim(lake, DIMS["projects"]).to_pylist()}


@pytest.mark.parametrize("is_first", [True, False])
def test_names_another_host_wrote_meanwhile_stay(is_first: bool, host: Host, tmp_path: Path) -> None:
    """Of two hosts that merge lists into one table the later merges with what the first one wrote."""
    lakes = [Lake(host(name).lake_dir, host(name).lake_url) for name in ("a", "b")]

    def merge(lake: Lake, organization: str, land: Callable[[], Path] | None = None) -> None:
        items = [ListedName(id=f"proj_{organization}", columns={"name": organization}, extras={})]
        replace_names(lake, "projects", organization, items, NOW, land)

    if not is_first:
        merge(lakes[0], "before")

    def land() -> Path:
        merge(lakes[1], "two")
        path = lakes[0].root.parent / "raw" / "one" / "dims.projects" / "2026-11" / "one.json.zst"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"raw")
        return path

    merge(lakes[0], "one", land)
    held = {"one", "two"} if is_first else {"before", "one", "two"}
    for lake in (*lakes, Lake(tmp_path / "c" / "lake", host("a").lake_url)):
        assert _names(lake) == {(one, f"proj_{one}") for one in held}
