"""Replay: the lake again from raw, without network, to identical content."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from usage_pipeline import sync as sync_module
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.ledger import forget_days
from usage_pipeline.lake.store import Lake
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
from usage_pipeline_tests.oracle.points import Killed, killing
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import World, everything, last_days, rows, versions

pytestmark = pytest.mark.marts("cost_daily", "usage_daily")

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600
DAY = 86400
LEDGER = "select * exclude (commit_id) from meta.restatements order by all"


@pytest.mark.slow
def test_replay_gives_identical_content_after_restatements(world: World, tmp_path: Path) -> None:
    """Usage, marts, coverage and restatements are the same after rebuilding from raw, with the service gone."""
    settings = world.settings(tmp_path)
    names = ["completions", "costs", "vector_stores", "images"]
    world.sync(settings, last_days(8), names)
    world.clock.advance(timedelta(hours=10))
    world.sync(settings, last_days(8), names)
    world.sync(settings, last_days(3), names)  # nothing new: not landed, but it decides what is provisional later
    world.clock.advance(timedelta(hours=30))
    world.sync(settings, last_days(9, world.clock().date()), names)
    before, ledger = everything(settings), rows(settings, LEDGER)
    coverage = rows(settings, "from meta.coverage order by all")
    offline = settings.model_copy(update={"base_url": "http://127.0.0.1:9"})
    done = replay(offline)
    assert done.files == len(list(landed_files(settings.raw_dir)))
    assert everything(settings) == before
    assert rows(settings, LEDGER) == ledger
    assert rows(settings, "from meta.coverage order by all") == coverage
    again = world.sync(settings, last_days(9, world.clock().date()), names)
    assert {one.outcome for one in again.endpoints} == {"unchanged"}


def test_replay_restores_a_lost_lake(data_dir: Path) -> None:
    """With lake and published file deleted, raw alone brings every row back."""
    service, settings = Played(NOW), played_settings(data_dir)
    cost = {"object": "organization.costs.result", "amount": {"value": "1.29e-05", "currency": "usd"}}
    service.put("costs", FIRST, cost)
    service.sync(settings, Window.of_times(FIRST, FIRST + 2 * DAY), "costs")
    before = everything(settings)
    shutil.rmtree(settings.lake_dir)
    settings.warehouse_path.unlink()
    replay(settings)
    assert everything(settings) == before


def test_replay_undoes_what_was_done_to_the_lake_by_hand(data_dir: Path) -> None:
    """Rows that raw does not vouch for go, and the raw archive itself is never written."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.put(
        "moderations",
        FIRST,
        {"object": "organization.usage.moderations.result", "input_tokens": 1, "num_model_requests": 1},
    )
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "moderations")
    before = everything(settings)
    raw = {path: path.read_bytes() for path in landed_files(settings.raw_dir)}
    from usage_pipeline.endpoints import ENDPOINTS

    table = Lake(settings.lake_dir).usage(ENDPOINTS["moderations"])
    table.overwrite(table.schema.empty_table())
    replay(settings)
    assert everything(settings) == before
    assert {path: path.read_bytes() for path in landed_files(settings.raw_dir)} == raw


def test_a_damaged_raw_file_stops_replay_and_changes_nothing(data_dir: Path) -> None:
    """The error names the file; lake and raw stay as they were."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "images", "costs")
    path = sorted(landed_files(settings.raw_dir))[-1]
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    before = versions(settings)
    with pytest.raises(LakeDamaged, match=path.name.replace(".", r"\.")):
        replay(settings)
    assert versions(settings) == before
    assert path.read_bytes() == content[:-7]
    assert not (settings.data_dir / "lake.replay").exists()


def test_nothing_to_replay_says_so(data_dir: Path) -> None:
    """Without a raw archive replay refuses instead of emptying the lake."""
    with pytest.raises(LakeDamaged, match="nothing to replay"):
        replay(played_settings(data_dir))


def _cost(service: Played, day: int, amount: str) -> None:
    service.put(
        "costs",
        FIRST + day * DAY,
        {"object": "organization.costs.result", "amount": {"value": amount, "currency": "usd"}},
    )


def _sync_costs(service: Played, settings: Settings, at: datetime, days: range) -> None:
    service.now = at
    service.sync(settings, Window.of_times(FIRST + days.start * DAY, FIRST + days.stop * DAY), "costs")


def _told(settings: Settings) -> list[object]:
    """Everything that is told of reads and changes, commit ids included."""
    return [rows(settings, f"from meta.{name} order by all") for name in ("sync_log", "restatements", "coverage")]


@pytest.mark.parametrize("later", ["1", "2"])
def test_replay_repeats_reads_that_were_stored_in_another_order(data_dir: Path, later: str) -> None:
    """Where the later of two reads came first, each changes the days it changed then, whatever either was served."""
    service, settings = Played(NOW), played_settings(data_dir)
    _cost(service, 0, "1")
    _cost(service, 1, later)
    _sync_costs(service, settings, NOW, range(1, 2))
    _cost(service, 1, "1")
    _sync_costs(service, settings, NOW - timedelta(minutes=1), range(2))
    before = _told(settings)
    for _ in range(2):
        replay(settings)
        assert _told(settings) == before


def test_replay_takes_a_day_whose_raw_file_is_lost_from_the_next_that_has_it(data_dir: Path) -> None:
    """The read that changed a day is lost; one that found it unchanged has it too, and is newer than the one before."""
    service, settings = Played(NOW), played_settings(data_dir)
    for minute, (first, second) in enumerate([("1", "1"), ("2", "1"), ("2", "2")]):
        _cost(service, 0, first)
        _cost(service, 1, second)
        _sync_costs(service, settings, NOW + timedelta(minutes=minute), range(2))
    before = rows(settings, "select date, amount from usage.costs order by all")
    sorted(landed_files(settings.raw_dir))[1].unlink()
    replay(settings)
    assert rows(settings, "select date, amount from usage.costs order by all") == before


def test_two_reads_under_one_sync_id_are_two(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that Dagster tries again reads the window once more under its run's id: replay repeats both."""
    monkeypatch.setattr(sync_module, "new_sync_id", lambda _now: "one-run")
    service, settings = Played(NOW), played_settings(data_dir)
    for minute, amount in enumerate(("1", "2", "3")):
        _cost(service, 0, amount)
        _sync_costs(service, settings, NOW + timedelta(minutes=minute), range(1))
    before = _told(settings)
    assert len(rows(settings, "from meta.sync_log")) == 3
    replay(settings)
    assert _told(settings) == before


def test_a_landed_read_with_nothing_new_is_told_once(data_dir: Path) -> None:
    """A killed sync's read, which replay finds to be what was stored, is not told again by the next replay."""
    service, settings = Played(NOW), played_settings(data_dir)
    _cost(service, 0, "1")
    _sync_costs(service, settings, NOW, range(1))
    _cost(service, 0, "2")
    with pytest.raises(Killed), killing("after landing"):
        _sync_costs(service, settings, NOW + timedelta(minutes=2), range(1))
    _sync_costs(service, settings, NOW + timedelta(minutes=1), range(1))
    replay(settings)
    before = _told(settings)
    outcomes = rows(settings, "select outcome from meta.sync_log order by fetched_at")
    assert [outcome for (outcome,) in outcomes] == ["replaced", "replaced", "unchanged"]
    replay(settings)
    assert _told(settings) == before


def test_a_read_that_was_stored_later_had_not_looked_before(data_dir: Path) -> None:
    """Of two syncs the one that began first is stored last: when the other was, nobody had seen the day closed."""
    service, settings = Played(NOW), played_settings(data_dir)
    _cost(service, 0, "1")
    _sync_costs(service, settings, datetime.fromtimestamp(FIRST, UTC) + timedelta(hours=10), range(1))
    _cost(service, 0, "2")
    _sync_costs(service, settings, NOW, range(1))
    _cost(service, 0, "1")
    _sync_costs(service, settings, NOW - timedelta(minutes=1), range(1))
    before = _told(settings)
    assert rows(settings, "select change, was_provisional from meta.restatements") == [("updated", True)]
    replay(settings)
    assert _told(settings) == before


def test_replay_brings_back_days_that_the_log_was_made_to_forget(data_dir: Path) -> None:
    """What doctor gave up, for no file had it, comes from raw once a backup of raw is back."""
    service, settings = Played(NOW), played_settings(data_dir)
    _cost(service, 0, "1")
    _sync_costs(service, settings, NOW, range(1))
    before = everything(settings)
    lake, day = Lake(settings.lake_dir), datetime.fromtimestamp(FIRST, UTC).date()
    lake.sync_log.overwrite(forget_days(lake, "costs", {(settings.organization, day)}))
    replay(settings)
    assert everything(settings) == before
