"""One entry of a table's log that is lost, emptied or altered: nobody stores or publishes upon it, and it is mended."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from usage_pipeline.doctor import doctor
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake import ledger
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.faults.stated import WINDOW, StatedService
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import everything, rows, versions

pytestmark = pytest.mark.marts("usage_daily")


def _newest(settings: Settings, table: str) -> Path:
    return max((settings.lake_dir / table / "_delta_log").glob("*.json"))


def _empty(entry: Path) -> None:
    entry.write_bytes(b"")


DAMAGES = pytest.mark.parametrize("spoil", first_quick(_empty, Path.unlink, ids=["emptied", "deleted"]))


def _history(settings: Settings) -> list[object]:
    return rows(settings, "select * exclude (commit_id) from meta.restatements order by all")


@DAMAGES
@pytest.mark.parametrize("table", ["usage/vector_stores", "meta/restatements", "meta/sync_log"])
def test_nothing_is_stored_or_published_upon_an_entry_that_says_nothing(
    service: StatedService, synced: Settings, table: str, spoil: Callable[[Path], None]
) -> None:
    """A table that seems older than it is: an error with the way out, for sync and publish; doctor mends all of it."""
    before, history = everything(synced), _history(synced)
    spoil(_newest(synced, table))
    with pytest.raises(LakeDamaged, match="run `usage-pipeline doctor`"):
        refresh(synced)
    service.state(3)
    asked = sync(
        synced, choose_endpoints(["vector_stores"]), WINDOW, clock=lambda: service.now, client_factory=service.client
    )
    assert [str(error).endswith("Nothing of vector_stores was stored.") for error in asked.errors] == [True]
    assert everything(synced) == before
    assert doctor(synced).is_cured
    assert (everything(synced), _history(synced)) == (before, history)
    assert verify(synced).findings == []


@DAMAGES
def test_a_data_file_that_is_not_as_long_as_written_is_not_published(
    synced: Settings, spoil: Callable[[Path], None]
) -> None:
    """Days that have not changed are not read for the marts: publishing looks at the lengths of their files too."""
    before = everything(synced)
    spoil(max((synced.lake_dir / "usage").rglob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns))
    with pytest.raises(LakeDamaged, match=r"usage.vector_stores is not what was written .*usage-pipeline doctor"):
        refresh(synced)
    assert doctor(synced).is_cured
    assert everything(synced) == before


@DAMAGES
@pytest.mark.parametrize("table", ["marts/usage_daily", "meta/mart_log"])
def test_a_mart_with_such_an_entry_is_made_anew(synced: Settings, table: str, spoil: Callable[[Path], None]) -> None:
    """What is computed anyway is computed again by the next publishing, and nothing is left to find."""
    before = everything(synced)
    spoil(_newest(synced, table))
    refresh(synced)
    assert everything(synced) == before
    assert verify(synced).findings == []


@DAMAGES
def test_replay_makes_a_table_with_such_an_entry_anew(synced: Settings, spoil: Callable[[Path], None]) -> None:
    """The entry does not stay behind the rows that replay writes."""
    before, history = everything(synced), _history(synced)
    spoil(_newest(synced, "usage/vector_stores"))
    replay(synced)
    assert (everything(synced), _history(synced)) == (before, history)
    assert verify(synced).findings == []


def test_a_replay_killed_before_it_has_made_the_table_anew_is_found(
    synced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damaged restatements are put aside and nothing is there yet: that is named, not published as none."""
    before, history = everything(synced), _history(synced)
    _newest(synced, "meta/restatements").unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LakeTable, "renew", killed)
        with pytest.raises(KeyboardInterrupt):
            replay(synced)
    assert {one.part for one in verify(synced, is_quick=True).findings} == {"meta.restatements"}
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        refresh(synced)
    assert doctor(synced).is_cured
    assert (everything(synced), _history(synced)) == (before, history)


def test_replay_puts_nothing_aside_that_is_whole(synced: Settings) -> None:
    """Readers of the published file keep its files until the new one is published."""
    [file] = rows(synced, "select count(*) from meta.sync_log")
    before = set(synced.lake_dir.glob("*/*"))
    replay(synced)
    assert (set(synced.lake_dir.glob("*/*")), rows(synced, "select count(*) from meta.sync_log")) == (before, [file])


def test_replay_refuses_to_put_days_back_to_an_older_raw_file(synced: Settings) -> None:
    """With the newest raw file of a day gone, replay would take the day from the one before: it says so and stops."""
    before = everything(synced)
    [*_, newest] = landed_files(synced.raw_dir)
    newest.unlink()
    with pytest.raises(LakeDamaged, match=r"no longer vouches for days .*vector_stores 2026-11-02"):
        replay(synced)
    assert everything(synced) == before
    replay(synced, may_forget=True)
    assert rows(synced, "select distinct usage_bytes from usage.vector_stores") == [(1,)]


def test_replay_keeps_what_a_lost_raw_file_did(service: StatedService, synced: Settings) -> None:
    """With a raw file in the middle gone, days come from the later one, and what changed when is told as before."""
    service.sync_state(synced, 3)
    service.sync_state(synced, 4)
    before, history = everything(synced, ("usage", "marts", "meta")), _history(synced)
    [*_, middle, _] = landed_files(synced.raw_dir)
    middle.unlink()
    replay(synced)
    assert (everything(synced, ("usage", "marts", "meta")), _history(synced)) == (before, history)
    assert [one.problem for one in verify(synced).findings] == ["missing"]
    replay(synced)
    assert everything(synced, ("usage", "marts", "meta")) == before


@pytest.mark.parametrize("ledger", first_quick("restatements", "sync_log"))
def test_replay_refuses_where_raw_and_the_account_of_it_are_gone(
    service: StatedService, synced: Settings, ledger: str
) -> None:
    """What a lost raw file changed is in the ledgers alone: with one of them damaged, doctor comes first."""
    service.sync_state(synced, 3)
    service.sync_state(synced, 4)
    before, held = everything(synced), versions(synced)
    [*_, middle, _] = landed_files(synced.raw_dir)
    middle.unlink()
    file = max((synced.lake_dir / "meta" / ledger).glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(LakeDamaged, match=r"raw files are missing.*run `usage-pipeline doctor` first"):
        replay(synced)
    assert versions(synced) == held
    replay(synced, may_forget=True)
    assert everything(synced)["usage.vector_stores"] == before["usage.vector_stores"]


def test_what_replay_was_told_to_forget_does_not_come_back(service: StatedService, synced: Settings) -> None:
    """Doctor takes no restatement from files that a replay has taken the place of."""
    [*_, newest] = landed_files(synced.raw_dir)
    newest.unlink()
    replay(synced, may_forget=True)
    service.sync_state(synced, 3)
    table = synced.lake_dir / "meta" / "restatements"
    before = sorted(DeltaTable(table).to_pyarrow_table()["after"].to_pylist())
    _newest(synced, "meta/restatements").unlink()
    doctor(synced)
    assert sorted(DeltaTable(table).to_pyarrow_table()["after"].to_pylist()) == before


@pytest.mark.parametrize(
    ("old", "new"), [("commit_id", "commit_ie"), ('"usage_pipeline":"{', '"usage_pipeline":"(')], ids=["name", "text"]
)
def test_an_altered_note_is_one_error_with_the_way_out(synced: Settings, old: str, new: str) -> None:
    """What a commit noted may be altered in one bit: publishing does not fall over it."""
    before = everything(synced)
    entry = _newest(synced, "usage/vector_stores")
    text = entry.read_text(encoding="utf-8")
    assert old in text
    entry.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        refresh(synced)
    assert doctor(synced).is_cured
    assert everything(synced) == before


def test_a_lost_coverage_log_is_written_again_from_all_commits(
    service: StatedService, synced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many commits there are: each carries its row, and those of long ago count too."""
    service.sync_state(synced, 3)
    before, history = everything(synced), _history(synced)
    monkeypatch.setattr(ledger, "NOTED_COMMITS", 1)
    shutil.rmtree(synced.lake_dir / "meta" / "sync_log")
    refresh(synced)
    assert (everything(synced), _history(synced)) == (before, history)


def test_doctor_makes_a_lost_coverage_log_anew(synced: Settings) -> None:
    """The folder of the table may be gone whole."""
    before = everything(synced)
    shutil.rmtree(synced.lake_dir / "meta" / "sync_log")
    assert doctor(synced).is_cured
    assert everything(synced) == before
