"""The restatement ledger and the names are held to what was counted and read: what nothing has any more is said."""

from datetime import timedelta
from pathlib import Path

import pytest

from usage_pipeline.doctor import doctor
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.restated import LOST_CHANGES
from usage_pipeline.lake.store import Lake
from usage_pipeline.name_lists import LISTS
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.faults.stated import DAY, FIRST, NOW, StatedService
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.world import World, everything, last_days, rows

pytestmark = pytest.mark.marts("usage_daily")

SCHEMAS = ("usage", "dims", "marts", "meta")
_RESULT = {"object": "organization.usage.vector_stores.result"}
_TOLD = "select date, change, before, after from meta.restatements order by recorded_at, date"


def _spoil(settings: Settings) -> None:
    """Write the ledger anew without its last change, with every file whole and sealed."""
    table = Lake(settings.lake_dir).restatements
    at = table.open()
    assert at is not None
    table.overwrite(at.to_pyarrow_table().slice(1))
    refresh(settings)


def _data_files(settings: Settings, place: str) -> list[Path]:
    return sorted((settings.lake_dir / place).glob("*.parquet"))


def test_a_ledger_with_fewer_changes_than_were_counted_is_found_and_mended(synced: Settings) -> None:
    """Whole files of a restatement ledger that lacks a change differ from the coverage log; raw gives it back."""
    before = everything(synced, SCHEMAS)
    _spoil(synced)
    found = verify(synced).findings
    assert [(one.part, one.problem) for one in found] == [
        ("meta.restatements", "1 reads changed more rows, or fewer, than are in it")
    ]
    assert doctor(synced).is_cured
    assert everything(synced, SCHEMAS) == before
    assert verify(synced).findings == []


def test_what_was_new_in_open_buckets_comes_back_from_raw(service: StatedService, data_dir: Path) -> None:
    """Rows that came to a day still open are counted with first loads: the counts do not miss them, the doctor does."""
    settings = played_settings(data_dir)
    day = Window.of_days(NOW.date(), NOW.date() + timedelta(days=1))
    for count in range(1, 4):
        service.now += timedelta(hours=1)
        groups = [{**_RESULT, "project_id": f"p{n}", "usage_bytes": n} for n in range(count)]
        service.put("vector_stores", day.start_time, *groups)
        service.sync(settings, day, "vector_stores")
    before = everything(settings, SCHEMAS)
    assert [change for _, change, _, _ in rows(settings, _TOLD)] == ["inserted"] * 2
    _data_files(settings, "meta/restatements")[0].unlink()
    assert doctor(settings).is_cured
    assert everything(settings, SCHEMAS) == before
    assert verify(settings).findings == []


def test_changes_in_no_file_any_more_are_said_once_and_stay_a_note(service: StatedService, synced: Settings) -> None:
    """With the raw file of a restating read gone, and the ledger's file too, the doctor says which changes are lost."""
    service.sync_state(synced, 3)
    told = rows(synced, _TOLD)
    newest = max(landed_files(synced.raw_dir))
    newest.unlink()
    assert len(doctor(synced, is_quick=True).lost) == 1
    newest_file = max(_data_files(synced, "meta/restatements"), key=lambda path: path.stat().st_mtime_ns)
    newest_file.unlink()
    done = doctor(synced)
    assert not done.is_cured
    assert done.after.findings == []
    assert [one for one in done.lost if LOST_CHANGES in one] == [
        f"vector_stores of default read at 2026-11-20 00:03: {LOST_CHANGES}; the days are as the service gave them"
    ]
    assert rows(synced, _TOLD) == told[:2]
    again = doctor(synced)
    assert again.is_cured
    assert any(LOST_CHANGES in note for note in again.found.notes)
    service.sync_state(synced, 4)
    assert [change for _, change, _, _ in rows(synced, _TOLD)] == ["updated"] * 4
    assert verify(synced).findings == []


def test_what_a_read_with_lost_changes_has_left_is_held_to_account(service: StatedService, data_dir: Path) -> None:
    """A read known to have lost some changes has others, which raw gives: the doctor brings them back each time."""
    settings = played_settings(data_dir)
    service.sync_state(settings, 1)
    service.state(2)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    service.sync_state(settings, 3)
    other_day = [change for change in rows(settings, _TOLD) if change[0] == rows(settings, _TOLD)[-1][0]]
    sorted(landed_files(settings.raw_dir))[1].unlink()
    assert not doctor(settings, is_quick=True).is_cured
    for lost in (2, 0):
        for path in _data_files(settings, "meta/restatements"):
            path.unlink()
        assert sum(LOST_CHANGES in one for one in doctor(settings).lost) == lost
        assert rows(settings, _TOLD) == other_day
        assert verify(settings).findings == []
    _spoil(settings)
    assert [one.part for one in verify(settings).findings] == ["meta.restatements"]


def test_no_change_is_made_up_across_a_raw_file_that_is_gone(service: StatedService, synced: Settings) -> None:
    """Raw without a read in the middle would tell another `before`: such a change is lost rather than invented."""
    service.sync_state(synced, 3)
    told = rows(synced, _TOLD)
    sorted(landed_files(synced.raw_dir))[1].unlink()
    assert not doctor(synced, is_quick=True).is_cured
    for path in _data_files(synced, "meta/restatements"):
        path.unlink()
    done = doctor(synced)
    assert done.after.findings == []
    assert sum(LOST_CHANGES in one for one in done.lost) == 2
    assert set(rows(synced, _TOLD)) < set(told)
    assert verify(synced).findings == []


@pytest.mark.parametrize("is_replay", [False, True])
def test_a_lost_read_that_saw_a_day_closed_had_seen_it(
    service: StatedService, data_dir: Path, *, is_replay: bool
) -> None:
    """Whether a later change was a restatement hangs on when its day was last looked at, by a lost read too."""
    settings, today = played_settings(data_dir), NOW.date()
    window = Window.of_days(today - timedelta(days=1), today + timedelta(days=1))
    for day, values in enumerate([(1, 1), (2, 1), (2, 3)]):  # the second read finds the second day as it was, but over
        service.now = NOW + timedelta(days=day, hours=10)
        for start, value in zip((window.start_time, window.start_time + DAY), values, strict=True):
            service.put("vector_stores", start, {**_RESULT, "project_id": "p", "usage_bytes": value})
        service.sync(settings, window, "vector_stores")
    told = "select date, was_provisional, before, after from meta.restatements order by all"
    before = rows(settings, told)
    assert [was_provisional for _, was_provisional, _, _ in before] == [False, False]
    sorted(landed_files(settings.raw_dir))[1].unlink()
    assert not doctor(settings, is_quick=True).is_cured
    if is_replay:
        replay(settings)
    else:
        for path in _data_files(settings, "meta/restatements"):
            path.unlink()
        assert sum(LOST_CHANGES in one for one in doctor(settings).lost) == 1
    assert rows(settings, told) == (before if is_replay else before[1:])
    assert verify(settings).findings == []


def test_a_replay_that_may_forget_counts_what_its_ledger_has(service: StatedService, synced: Settings) -> None:
    """Where raw lost a read's days the log's counts of its changes go with them: nothing differs afterwards."""
    service.sync_state(synced, 3)
    max(landed_files(synced.raw_dir)).unlink()
    doctor(synced, is_quick=True)
    replay(synced, may_forget=True)
    assert verify(synced).findings == []


def test_a_list_of_names_in_no_file_any_more_is_said(world: World, data_dir: Path) -> None:
    """With the newest list gone from raw and from the table, the doctor does not call the older names a cure."""
    settings = world.settings(data_dir)
    for days in (0, 60):
        world.clock.advance(timedelta(days=days))
        today = world.clock().date()
        world.sync(settings, last_days(1, today), ["vector_stores"], lists=[LISTS["users"]])
    max(landed_files(settings.raw_dir, table="dims.users")).unlink()
    assert not doctor(settings, is_quick=True).is_cured
    max(_data_files(settings, "dims/users"), key=lambda path: path.stat().st_mtime_ns).unlink()
    done = doctor(settings)
    assert done.lost == [
        "dims.users of default: what was read on 2027-01-19 15:20 is in no file any more; the next sync reads the list "
        "as it is then"
    ]
    assert done.after.findings == []
    assert doctor(settings).is_cured


@pytest.mark.parametrize("is_put_back", [False, True])
def test_a_lost_list_is_said_though_a_later_one_is_there(world: World, data_dir: Path, *, is_put_back: bool) -> None:
    """What was so in between alone no later list tells: without the files of the table it is lost."""
    settings = world.settings(data_dir)
    for _ in range(3):
        world.sync(settings, last_days(1, world.clock().date()), ["vector_stores"], lists=[LISTS["users"]])
        world.clock.advance(timedelta(days=45))
    before = everything(settings, ["dims"])
    raw = sorted(landed_files(settings.raw_dir, table="dims.users"))[1]
    content = raw.read_bytes()
    raw.unlink()
    assert not doctor(settings, is_quick=True).is_cured
    if is_put_back:
        raw.write_bytes(content)
    for path in _data_files(settings, "dims/users"):
        path.unlink()
    done = doctor(settings)
    assert [one.partition(" is in no file")[0] for one in done.lost] == (
        [] if is_put_back else ["dims.users of default: what was read on 2027-01-04 15:20"]
    )
    assert (everything(settings, ["dims"]) == before) == is_put_back
    assert done.after.findings == []
    assert doctor(settings).is_cured
