"""Marts: right, incremental, unique in their grain, exact in their types."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from usage_pipeline.lake.schemas import PART
from usage_pipeline.lake.snapshot import take_snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts import tasks
from usage_pipeline.marts.build import build_marts
from usage_pipeline.marts.column_texts import column_texts
from usage_pipeline.marts.derived import derived_relations
from usage_pipeline.marts.fingerprints import Contents
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.marts.tables import mart_schema
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.oracle.points import Killed, killing
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import World, everything, last_days, rows

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = 86400
FIRST = 1793577600  # 2026-11-02
MARTS = ["cost_daily", "cost_daily_by_project", "usage_daily", "usage_daily_by_model"]


def test_every_column_of_every_mart_is_described() -> None:
    """A mart that gets a column gets its words too."""
    for name in load_marts():
        names = [one for one in mart_schema(name).names if one != PART]
        assert list(column_texts(names)) == names, name


@pytest.mark.slow
def test_marts_built_a_few_days_at_a_time_equal_those_built_at_once(
    still_world: World, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into memory together is computed in portions of whole days; nothing else changes."""
    at_once, in_portions = (still_world.settings(data_dir / name) for name in ("whole", "portions"))
    still_world.sync(at_once, last_days(4))
    monkeypatch.setattr(tasks, "_MOST_ROWS", 1)
    still_world.sync(in_portions, last_days(4))
    assert everything(in_portions) == everything(at_once)


def test_the_marts_are_the_files() -> None:
    """Each .sql file is a mart with a description, a grain of its own columns and the tables it reads."""
    marts = load_marts()
    assert set(MARTS) <= set(marts)
    assert list(marts).index("cost_daily") < list(marts).index("cost_daily_by_project")
    assert marts["cost_daily"].endpoints == {"costs"}
    assert marts["cost_daily_by_project"].marts == {"cost_daily"}
    assert len(marts["usage_daily"].endpoints) == 12
    for mart in marts.values():
        assert mart.description.endswith(".")
        assert set(mart.grain) <= set(mart_schema(mart.name).names)


@pytest.mark.parametrize("name", sorted(load_marts()))
def test_no_mart_holds_a_binary_float(name: str) -> None:
    """Columns are text, dates, whole numbers, booleans or decimals; never a float near money."""
    kinds = {str(kind) for kind in mart_schema(name).types}
    assert kinds <= {"string", "date32[day]", "timestamp[us]", "int64", "bool", "decimal128(38, 20)"}


_FLOATS = re.compile(
    r"::\s*(double|float|real)|\bas\s+(double|float|real)\b|\b(median|avg|mean|quantile_cont|stddev\w*)\s*\(| / "
    r"|%[-+.\d]*[efg]",
    re.IGNORECASE,
)
_TEXTS = {
    **{name: mart.sql for name, mart in load_marts().items()},
    **{one.name: one.sql for one in derived_relations()},
}


@pytest.mark.parametrize("name", _TEXTS)
def test_no_query_computes_with_binary_floats(name: str) -> None:
    """Neither by name, nor by what DuckDB does through one in silence: medians between two, means, decimals divided."""
    found = _FLOATS.search(re.sub(r"--.*|'[^'%]*'", "", _TEXTS[name]))
    assert found is None, (
        f"{name}: {found[0].strip()!r} computes with binary floats, and money is exact. Divide whole numbers (//); the "
        "median is half of quantile_disc(x, 0.5) - quantile_disc(-x, 0.5). budget_status.sql does both."
    )


@pytest.mark.slow
def test_every_mart_is_unique_in_its_grain_and_equals_a_recompute(settings: World, still_world: World) -> None:
    """No two rows share a grain, and totals equal those of the usage tables to the last digit."""
    still_world.sync(settings, last_days(6))
    for mart in load_marts().values():
        grain = ", ".join(mart.grain)
        assert rows(settings, f"select {grain}, count(*) from marts.{mart.name} group by all having count(*) > 1") == []
    billed = rows(settings, "select date, currency, sum(amount) from usage.costs group by all order by all")
    for mart in ("cost_daily", "cost_daily_by_project"):
        assert (
            rows(settings, f"select date, currency, sum(amount) from marts.{mart} group by all order by all") == billed
        )
    tokens = rows(settings, "select date, sum(input_tokens) from usage.completions group by all order by all")
    by_model = (
        "select date, sum(input_tokens) from marts.usage_daily_by_model where endpoint = 'completions' group by all"
    )
    assert rows(settings, f"{by_model} order by all") == tokens
    long = "select date, sum(value)::bigint from marts.usage_daily where endpoint = 'completions'"
    assert rows(settings, f"{long} and measure = 'input_tokens' group by all order by all") == tokens


@pytest.mark.slow
def test_a_changed_day_is_computed_alone_and_equals_a_full_build(data_dir: Path, tmp_path: Path) -> None:
    """One restated day is built alone, in the marts that read its endpoint; the result is a full build's."""
    service = Played(NOW)
    for n in range(5):
        cost = {"object": "organization.costs.result", "project_id": "p", "amount": {"value": n, "currency": "usd"}}
        service.put("costs", FIRST + n * DAY, cost)
    window = Window.of_times(FIRST, FIRST + 5 * DAY)
    settings = played_settings(data_dir)
    service.sync(settings, window, "costs", "moderations")
    service.put(
        "costs",
        FIRST + DAY,
        {"object": "organization.costs.result", "project_id": "q", "amount": {"value": 9, "currency": "usd"}},
    )
    service.now += timedelta(hours=1)
    report = service.sync(settings, window, "costs", "moderations")
    assert report.refreshed is not None
    built = {build.mart: build.days for build in report.refreshed.builds}
    changed = (date(2026, 11, 3),)
    assert {name: built[name] for name in MARTS} == {
        "cost_daily": changed,
        "cost_daily_by_project": changed,
        "usage_daily": changed,
        "usage_daily_by_model": (),
    }
    fresh = played_settings(tmp_path / "fresh")
    service.sync(fresh, window, "costs", "moderations")
    assert everything(settings) == everything(fresh)
    amounts = rows(settings, "select date, project_id, amount from marts.cost_daily_by_project order by date")
    assert amounts[1] == (date(2026, 11, 3), "q", Decimal(9))


@pytest.mark.slow
def test_an_emptied_day_leaves_no_mart_row(data_dir: Path) -> None:
    """When a day's groups all vanish, the marts' rows of that day go too."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.put("costs", FIRST, {"object": "organization.costs.result", "amount": {"value": 1, "currency": "usd"}})
    window = Window.of_times(FIRST, FIRST + DAY)
    service.sync(settings, window, "costs")
    service.put("costs", FIRST)
    service.now += timedelta(hours=1)
    service.sync(settings, window, "costs")
    assert everything(settings)["marts.cost_daily"] == []
    assert everything(settings)["marts.usage_daily"] == []


def test_a_changed_query_computes_every_day_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mart whose SQL changed, columns included, is rebuilt whole by the next refresh."""
    from dataclasses import replace

    from usage_pipeline.marts import build, tables

    service, settings = Played(NOW), played_settings(data_dir)
    result = {"object": "organization.usage.embeddings.result", "model": "m", "num_model_requests": 1}
    service.put("embeddings", FIRST, {**result, "input_tokens": 7})
    service.sync(settings, Window.of_times(FIRST, FIRST + 2 * DAY), "embeddings")
    marts = dict(load_marts())
    changed = marts["usage_daily_by_model"].sql.replace(" input_tokens", " input_tokens as total_input_tokens")
    marts["usage_daily_by_model"] = replace(marts["usage_daily_by_model"], sql=changed)
    for module in (build, tables):
        monkeypatch.setattr(module, "load_marts", lambda: marts)  # stands for a newer version of the package
    tables._mart_schemas.cache_clear()
    try:
        builds = {one.mart: len(one.days) for one in refresh(settings).builds}
        assert {name for name, days in builds.items() if days} == {"usage_daily_by_model"}
        assert builds["usage_daily_by_model"] == 2
        assert rows(settings, "select total_input_tokens from marts.usage_daily_by_model") == [(7,)]
    finally:
        tables._mart_schemas.cache_clear()


def test_naming_a_mart_builds_what_it_reads_first(data_dir: Path) -> None:
    """Building one mart builds the marts below it and no other."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.put("costs", FIRST, {"object": "organization.costs.result", "amount": {"value": 1, "currency": "usd"}})
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "costs")
    lake = Lake(settings.lake_dir)
    builds = build_marts(lake, Contents(take_snapshot(lake)), ["cost_daily_by_project"]).builds
    assert [build.mart for build in builds] == ["cost_daily", "cost_daily_by_project"]


def test_a_level_is_added_over_projects_and_not_over_time(data_dir: Path) -> None:
    """Stored bytes at 1h count once a day, with the level of the last bucket."""
    service, settings = Played(NOW), played_settings(data_dir, USAGE_PIPELINE_BUCKET_WIDTH="1h")
    result = {"object": "organization.usage.vector_stores.result"}
    for hour in range(24):
        service.put(
            "vector_stores", FIRST + hour * 3600, *(result | {"project_id": p, "usage_bytes": 100 + hour} for p in "ab")
        )
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    found = rows(settings, "select project_id, value, is_additive, unit from marts.usage_daily order by 1")
    assert found == [("a", Decimal(123), False, "bytes"), ("b", Decimal(123), False, "bytes")]


def test_currencies_are_never_added_together(data_dir: Path) -> None:
    """Two currencies of a day stay two rows in every mart."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.put(
        "costs",
        FIRST,
        *(
            {"object": "organization.costs.result", "amount": {"value": v, "currency": c}}
            for v, c in (("1.5", "usd"), ("-0.5", "eur"))
        ),
    )
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "costs")
    expected = [("eur", Decimal("-0.5")), ("usd", Decimal("1.5"))]
    for table in ("cost_daily", "cost_daily_by_project"):
        assert rows(settings, f"select currency, amount from marts.{table} order by 1") == expected
    assert rows(settings, "select unit, value from marts.usage_daily order by 1") == expected


def test_a_day_that_is_again_what_it_was_is_computed_again_after_a_kill(data_dir: Path) -> None:
    """A build died when a mart was written and not yet noted; then the bill went back to what had been noted."""
    service, settings = Played(NOW), played_settings(data_dir)

    def sync(amount: int) -> None:
        cost = {"object": "organization.costs.result", "amount": {"value": amount, "currency": "usd"}}
        service.put("costs", FIRST, cost)
        service.now += timedelta(minutes=1)
        service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "costs")

    sync(1)
    with pytest.raises(Killed), killing("before the marts are remembered"):
        sync(2)
    sync(1)
    assert rows(settings, "select amount from marts.cost_daily") == [(Decimal(1),)]
    assert not verify(settings).findings
