"""Files lost, damaged or refused: what is noticed, what is said, and what brings everything back."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from usage_pipeline import replay as replay_module
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig, LakeDamaged, WarehouseBusy
from usage_pipeline.lake import replace as replace_module
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.locks import REBUILD_LOCK, exclusive
from usage_pipeline.lake.store import Lake
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.status import endpoint_status
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.faults.stated import power_lost
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import everything, open_world, rows

MARTS = ("cost_daily_by_project", "usage_daily")
pytestmark = pytest.mark.marts(*MARTS)

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600
DAY = 86400
WINDOW = Window.of_times(FIRST, FIRST + 4 * DAY)
RESULT = {"object": "organization.usage.vector_stores.result", "project_id": "p"}
COST = {"object": "organization.costs.result", "project_id": "p"}


class Service(Played):
    """Two endpoints whose four days hold one value."""

    def state(self, value: int) -> None:
        """Let a minute pass and every day hold the value."""
        self.now += timedelta(minutes=1)
        for n in range(4):
            self.put("vector_stores", FIRST + n * DAY, RESULT | {"usage_bytes": value})
            self.put("costs", FIRST + n * DAY, COST | {"amount": {"value": value, "currency": "usd"}})

    def sync_state(self, settings: Settings, value: int) -> None:
        """Hold the value and sync it."""
        self.state(value)
        self.sync(settings, WINDOW, "vector_stores", "costs")


@pytest.fixture
def service() -> Service:
    """The service, holding nothing yet."""
    return Service(NOW)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a first state and its restatement; never changed."""
    service, settings = Service(NOW), played_settings(tmp_path_factory.mktemp("origin") / "data")
    with only_marts(*MARTS):
        service.sync_state(settings, 1)
        service.sync_state(settings, 2)
    return settings.data_dir


@pytest.fixture
def synced(origin: Path, service: Service, data_dir: Path) -> Settings:
    """A copy of it to damage, and the service in the state it was read in."""
    shutil.copytree(origin, data_dir)
    settings = played_settings(data_dir)
    refresh(settings)
    service.now += timedelta(minutes=1)
    service.state(2)
    return settings


def _ledger(settings: Settings) -> list[tuple[object, ...]]:
    return rows(settings, "from meta.restatements order by all")


def test_replay_refuses_to_forget_days_whose_raw_is_gone(synced: Settings) -> None:
    """With raw files missing, replay names endpoint and days and changes nothing; told to, it drops them everywhere."""
    before = everything(synced)
    for path in landed_files(synced.raw_dir):
        if "costs" in path.parts:
            path.unlink()
    with pytest.raises(LakeDamaged, match=r"costs 2026-11-02\.\.2026-11-06.*--may-forget"):
        replay(synced)
    assert everything(synced) == before
    replay(synced, may_forget=True)
    after = everything(synced)
    assert after["usage.costs"] == after["marts.cost_daily"] == after["marts.cost_daily_by_project"] == []
    assert after["usage.vector_stores"] == before["usage.vector_stores"]


def test_a_second_replay_does_not_disturb_the_first(synced: Settings) -> None:
    """While one replay runs another refuses, and leaves its work alone."""
    workshop = synced.data_dir / "lake.replay"
    workshop.mkdir()
    with exclusive(synced.data_dir / REBUILD_LOCK), pytest.raises(WarehouseBusy, match="held, last by process"):
        replay(synced)
    assert workshop.exists()


@pytest.mark.parametrize("spoilt", [None, "vector_stores", "costs"])
def test_a_raw_file_that_never_reached_the_lake_does_not_come_back(
    service: Service, synced: Settings, monkeypatch: pytest.MonkeyPatch, spoilt: str | None
) -> None:
    """A read landed by a killed writer, and superseded, is left out of a replay, whatever table the replay is for."""
    before = everything(synced)

    def killed(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    service.state(3)
    with monkeypatch.context() as patched:
        patched.setattr(replace_module, "compare", killed)  # dies after landing, before the commit
        with pytest.raises(KeyboardInterrupt):
            service.sync(synced, WINDOW, "vector_stores")
    service.sync_state(synced, 2)  # what the lake holds: not landed again
    if spoilt:
        _spoil_log(synced.lake_dir / "usage" / spoilt)
    done = replay(synced)
    assert done.left_out == 1
    assert everything(synced) == before


def test_after_a_power_loss_raw_knows_more_than_the_lake(service: Service, synced: Settings) -> None:
    """A landed read that is newer than all the lake knows is applied."""
    with power_lost(synced):
        service.sync_state(synced, 3)
        newest = everything(synced)
    replay(synced)
    assert everything(synced) == newest


@pytest.mark.slow
@pytest.mark.parametrize("step", ["vector_stores", "restatements", "sync_log", "mart_log"])
def test_a_replay_killed_while_adopting_is_finished_by_the_next(
    synced: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed before any table is adopted, content and ledgers stay right, for readers, refreshes and another replay."""
    before, ledger = everything(synced), _ledger(synced)
    real = LakeTable.renew

    def dying(table: LakeTable, content: object) -> None:
        if table.path.name == step:
            raise KeyboardInterrupt
        real(table, content)

    with monkeypatch.context() as patched:
        patched.setattr(LakeTable, "renew", dying)
        with pytest.raises(KeyboardInterrupt):
            replay(synced)
    assert everything(synced) == before
    assert _ledger(synced) == ledger
    for heal in (refresh, replay):
        heal(synced)
        assert everything(synced) == before
        assert _ledger(synced) == ledger


def _lose(path: Path) -> None:
    shutil.rmtree(path)


def _lose_log(path: Path) -> None:
    shutil.rmtree(path / "_delta_log")


def _lose_data(path: Path) -> None:
    for file in path.rglob("*.parquet"):
        file.unlink()


def _spoil_log(path: Path) -> None:
    for file in (path / "_delta_log").glob("*.json"):
        file.write_text("{ this is no log")


LOSSES = [_lose, _lose_log, _lose_data, _spoil_log]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("mart", ["cost_daily", "usage_daily"])
def test_a_damaged_mart_is_made_anew(synced: Settings, mart: str, lose: Callable[[Path], None]) -> None:
    """A mart that lost its table, its log or its files is whole again after the next refresh."""
    before = everything(synced)
    lose(synced.lake_dir / "marts" / mart)
    refresh(synced)
    assert everything(synced) == before


def test_a_damaged_mart_is_made_anew_for_every_organization(service: Service, synced: Settings) -> None:
    """What a lost mart held of a second organization comes back with the first one's."""
    second = synced.model_copy(update={"organization": "second"})
    service.sync(second, WINDOW, "vector_stores", "costs")
    before = everything(synced)
    assert {who for (who,) in rows(synced, "select distinct organization from marts.cost_daily")} == {
        "default",
        "second",
    }
    _lose_data(synced.lake_dir / "marts" / "cost_daily")
    refresh(synced)
    assert everything(synced) == before


@pytest.mark.parametrize("lose", first_quick(*LOSSES, quick=2))
def test_a_damaged_table_is_named_and_replay_heals_it(synced: Settings, lose: Callable[[Path], None]) -> None:
    """Nothing is published over a damaged table, the error says `replay`, and replay brings every row back."""
    before = everything(synced)
    lose(synced.lake_dir / "usage" / "costs")
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        refresh(synced)
    assert synced.warehouse_path.exists()
    replay(synced)
    assert everything(synced) == before


def test_a_log_that_is_whole_from_its_checkpoint_on_alone_is_healed(service: Service, synced: Settings) -> None:
    """Entries spoilt behind a checkpoint hinder neither opening nor writing; after replay the lake is whole again."""
    log = synced.lake_dir / "usage" / "vector_stores" / "_delta_log"
    DeltaTable(log.parent).create_checkpoint()
    before = everything(synced)
    _spoil_log(log.parent)
    replay(synced)
    assert everything(synced) == before
    service.sync_state(synced, 1)
    service.sync_state(synced, 2)
    replay(synced)


@pytest.mark.parametrize("lose", [_lose_data, _spoil_log])
def test_a_damaged_coverage_log_is_named_and_replay_heals_it(synced: Settings, lose: Callable[[Path], None]) -> None:
    """A log that cannot be read stops the refresh with the way out; replay goes on without it."""
    before = everything(synced)
    lose(synced.lake_dir / "meta" / "sync_log")
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        refresh(synced)
    replay(synced)
    assert everything(synced) == before


@pytest.mark.parametrize("lose", [_lose, _lose_log])
def test_a_lost_coverage_log_heals_itself(synced: Settings, lose: Callable[[Path], None]) -> None:
    """Every commit carries its row of the log, so a log that is gone is written again by the next refresh."""
    before, ledger = (
        everything(synced),
        rows(synced, "select * exclude (commit_id) from meta.restatements order by all"),
    )
    lose(synced.lake_dir / "meta" / "sync_log")
    refresh(synced)
    assert everything(synced) == before
    assert rows(synced, "select * exclude (commit_id) from meta.restatements order by all") == ledger


def test_a_mart_forgets_days_the_lake_no_longer_knows(synced: Settings) -> None:
    """When days leave the coverage log, their rows leave the marts."""
    lake = Lake(synced.lake_dir)
    for table in (lake.usage(ENDPOINTS["costs"]), lake.usage(ENDPOINTS["vector_stores"]), lake.sync_log):
        table.overwrite(table.schema.empty_table())
    refresh(synced)
    assert {name for name, found in everything(synced).items() if found} == set()


def test_status_of_a_damaged_lake_says_what_to_run(synced: Settings) -> None:
    """`status` over a lake that cannot be read is one error with the way out."""
    _spoil_log(synced.lake_dir / "meta" / "sync_log")
    with pytest.raises(LakeDamaged, match="usage-pipeline doctor"):
        endpoint_status(synced, NOW)


def test_a_folder_that_cannot_be_written_stops_before_the_service_is_asked(service: Service, tmp_path: Path) -> None:
    """The data folder is tried first: where it refuses, no request is made."""
    in_the_way = tmp_path / "data"
    in_the_way.write_text("a file")
    with pytest.raises(FixConfig, match=r"data cannot be written .*USAGE_PIPELINE_DATA_DIR"):
        service.sync(played_settings(in_the_way), WINDOW, "costs")
    assert service.requests == []


def test_a_refresh_that_fails_does_not_hide_what_was_synced(service: Service, synced: Settings) -> None:
    """The report has both: the endpoints that were stored, and why nothing was published."""
    _lose_data(synced.lake_dir / "usage" / "costs")
    service.state(3)
    report = sync(
        synced,
        choose_endpoints(["vector_stores"]),
        WINDOW,
        clock=lambda: service.now,
        client_factory=service.client,
    )
    assert report.endpoints[0].outcome == "replaced"
    assert isinstance(report.refresh_error, LakeDamaged)
    assert report.refreshed is None


@pytest.mark.parametrize("name", ["a=b", "50%", "what?", "st*r", "[1]", "tag#1"])
def test_a_folder_name_the_engines_would_misread_is_refused(name: str, tmp_path: Path) -> None:
    """Characters that are patterns, escapes or partitions in a path are named before anything is written."""
    with pytest.raises(ValueError, match="choose one without"):
        played_settings(tmp_path / name)


@pytest.mark.marts("cost_daily")
@pytest.mark.parametrize("name", first_quick('a "quote"', "it's", "ünïcode 数据", "{braces}", "dash-dot.d"))
def test_other_folder_names_work(service: Service, name: str, tmp_path: Path) -> None:
    """Quotes, spaces and any script in the folder's name are no trouble, from sync to query."""
    settings = played_settings(tmp_path / name)
    service.sync_state(settings, 1)
    service.sync_state(settings, 2)
    assert rows(settings, "select sum(amount)::int from marts.cost_daily") == [(8,)]
    replay(settings)
    assert rows(settings, "select sum(amount)::int from marts.cost_daily") == [(8,)]


def test_a_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """~ in .env means the home folder, as it does in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".env").write_text("USAGE_PIPELINE_DATA_DIR=~/usage\n")
    assert Settings.from_env(tmp_path / ".env").data_dir == tmp_path / "usage"


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_sync_says_so_and_exits_130(tmp_path: Path) -> None:
    """Ctrl-C while it waits for answers gives one line and exit code 130, and the lake is as it was."""
    is_asked = threading.Event()

    def noticing(app: Any) -> Any:
        async def noticed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                is_asked.set()
            await app(scope, receive, send)

        return noticed

    with open_world(delay_seconds=20, faults=noticing) as world:
        settings = world.settings(tmp_path / "data")
        environment = {
            **os.environ,
            "OPENAI_ADMIN_KEY": "sk-admin-test",
            "OPENAI_BASE_URL": world.base_url,
            "USAGE_PIPELINE_DATA_DIR": str(settings.data_dir),
        }
        command = [sys.executable, "-m", "usage_pipeline", "sync", "--since", "2026-11-19", "--endpoint", "costs"]
        # A suite in a shell's background ignores Ctrl-C, and so would its children.
        with subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts
        ) as process:
            assert is_asked.wait(60)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=15)
    assert process.returncode == 130
    assert said.splitlines() == ["usage-pipeline: interrupted; what was not committed is unchanged."]
    assert list(settings.data_dir.rglob("*.parquet")) == []


@pytest.mark.slow
def test_replay_keeps_the_ledgers_it_rebuilds_small(synced: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long archive does not make a file of the coverage log per raw file: many are written together."""
    written: list[int] = []
    real = LakeTable.append

    def counting(table: LakeTable, rows: pa.Table, note: object = None) -> None:
        if table.path.name == "sync_log":
            written.append(rows.num_rows)
        real(table, rows, note)

    monkeypatch.setattr(LakeTable, "append", counting)
    replay(synced)
    assert written == [len(list(landed_files(synced.raw_dir)))]
    written.clear()
    monkeypatch.setattr(replay_module, "_TIDY_EVERY", 2)
    replay(synced)
    assert set(written) == {2}
