"""Looking back: `usage.<endpoint>_as_of(moment)` gives what the warehouse said then, row for row."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.as_of import macro_name
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import World, rows

pytestmark = pytest.mark.marts("cost_daily")

Memory = dict[datetime, dict[str, list[tuple[Any, ...]]]]
BEGIN = datetime(2026, 11, 14, 9, tzinfo=UTC)
DAY = 86400
FIRST = 1793577600  # 2026-11-02


def _said(settings: Settings, names: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    return {name: rows(settings, f"select * from usage.{name} order by all") for name in names}


def _assert_remembered(settings: Settings, memory: Memory) -> None:
    """At every moment of the memory the macros say what the tables said."""
    for moment, held in memory.items():
        at_time = {"moment": moment.replace(tzinfo=None)}
        for name, expected in held.items():
            query = f"select * from usage.{macro_name(ENDPOINTS[name])}($moment::timestamp) order by all"
            assert rows(settings, query, at_time) == expected, f"{name} at {moment}"


@pytest.mark.slow
def test_every_endpoint_can_be_asked_what_it_said_before(world: World, tmp_path: Path) -> None:
    """Over days of late, restated and vanished rows, each moment's tables come back from the last warehouse."""
    settings, memory = world.settings(tmp_path / "data"), Memory()
    world.clock.set(BEGIN)
    for _ in range(3):
        assert not world.sync(settings).failed
        memory[utc_now()] = _said(settings, list(ENDPOINTS))
        world.clock.advance(timedelta(days=1, hours=9))
    changes = {change for (change,) in rows(settings, "select distinct change from meta.restatements")}
    assert changes == {"inserted", "updated", "deleted"}, "or nothing is proven"
    _assert_remembered(settings, memory)


def test_rows_that_went_days_that_emptied_and_widths_that_changed_come_back(data_dir: Path) -> None:
    """Also text that JSON escapes, amounts with all their digits, unknown fields; before the first sync, nothing."""
    service, memory = Played(datetime(2026, 11, 20, tzinfo=UTC)), Memory()
    window = Window.of_times(FIRST, FIRST + 2 * DAY)
    cost = {"object": "organization.costs.result", "amount": {"value": 0.10, "currency": "usd"}}
    usage = {"object": "organization.usage.embeddings.result", "num_model_requests": 1}
    odd = 'a "b"\n\\c ünï'
    memory[utc_now()] = {"costs": [], "embeddings": []}

    def sync(width: str = "1d") -> Settings:
        settings = played_settings(data_dir, USAGE_PIPELINE_BUCKET_WIDTH=width)
        service.sync(settings, window, "costs", "embeddings")
        memory[utc_now()] = _said(settings, ["costs", "embeddings"])
        service.now += timedelta(hours=1)
        return settings

    service.put("costs", FIRST, {**cost, "line_item": odd}, {**cost, "line_item": "x", "brand_new": [1, {"a": None}]})
    service.put("costs", FIRST + DAY, {**cost, "project_id": None})
    service.put("embeddings", FIRST, {**usage, "model": odd, "input_tokens": 2**53 + 1})
    sync()
    service.put(
        "costs", FIRST, {**cost, "line_item": odd, "amount": {"value": "-0.12345678901234567890", "currency": "eur"}}
    )
    service.put("costs", FIRST + DAY)
    sync()
    service.put("embeddings", FIRST, {**usage, "model": "m", "input_tokens": 5})
    sync("1h")
    service.put("costs", FIRST)
    _assert_remembered(sync("1h"), memory)


def test_the_moment_itself_counts(world: World, tmp_path: Path) -> None:
    """A sync is part of what was said from the moment it was committed on, and not a microsecond before."""
    settings = world.settings(tmp_path / "data")
    world.sync(settings, names=["moderations"])
    ((at,),) = rows(settings, "select max(committed_at) from meta.sync_log")
    counts = [
        rows(settings, "select count(*) from usage.moderations_as_of($at)", {"at": at - timedelta(microseconds=back)})[
            0
        ][0]
        for back in (0, 1)
    ]
    assert counts == [rows(settings, "select count(*) from usage.moderations")[0][0], 0]


def test_the_columns_are_those_of_the_table(settings: Settings) -> None:
    """A macro's answer has the table's columns, in their order and types; also where nothing was ever synced."""
    refresh(settings)
    described = "select column_name, column_type from (describe from {})"
    for name, endpoint in ENDPOINTS.items():
        macro = f"usage.{macro_name(endpoint)}(now()::timestamp)"
        assert rows(settings, described.format(macro)) == rows(settings, described.format(f"usage.{name}"))
