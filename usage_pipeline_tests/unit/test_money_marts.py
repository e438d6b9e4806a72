"""Allocation and reconciliation in the lake: a month of the simulator, a real account's week, and restated days."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.lake.store import Lake
from usage_pipeline.marts import derived
from usage_pipeline.marts.checks import UNSETTLED_DAYS, not_comparable, unallocated_difference, unreconciled
from usage_pipeline.marts.derived import derived_relations
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.marts.tables import mart_schema
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import PAYLOADS, Played, played_settings
from usage_pipeline_tests.world import World, everything, last_days, rows

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = 86400
FIRST = 1793577600  # 2026-11-02
DIFFERENT = """
select {key}, sum(billed), sum(allocated) from (
    select {key}, amount as billed, null::decimal(38, 20) as allocated from usage.costs
    union all by name select {key}, amount as allocated from marts.cost_allocated
) group by all having sum(billed) is distinct from sum(allocated)
"""


@pytest.mark.slow
def test_a_month_of_an_organization_adds_up_in_every_way(still_world: World, data_dir: Path) -> None:
    """30 days with credits, trainings, tools and outages: sums equal per day, project and line item, all explained."""
    settings = still_world.settings(data_dir, USAGE_PIPELINE_START_DATE="2026-10-01")
    month = last_days(30)
    still_world.sync(settings, month)
    for key in ("date, currency", "date, project_id, currency", "date, project_id, line_item, currency"):
        assert rows(settings, DIFFERENT.format(key=key)) == []
    assert unallocated_difference(Lake(settings.lake_dir), settings.organization, month) == ()
    (counts,) = rows(
        settings,
        "select sum(amount), count(*), count(*) filter (basis = 'priced'), min(amount), "
        "count(distinct reason) from marts.cost_allocated",
    )
    assert counts[0] > 0
    assert counts[2] > counts[1] / 2
    assert counts[3] < 0, "the month has a credit"
    for mart in ("cost_allocated", "reconciliation_daily"):
        assert rows(settings, f"select count(*) from marts.{mart}") > [(0,)]
    # Nothing is lost between the two: the bill is the same, and no more is explained than was spread by price.
    ((billed, explained),) = rows(settings, "select sum(billed), sum(explained) from marts.reconciliation_daily")
    priced = "select sum(amount), sum(amount) filter (basis = 'priced') from marts.cost_allocated"
    ((allocated, by_price),) = rows(settings, priced)
    assert billed == allocated
    assert by_price / 2 < explained < by_price
    # Nothing is said of most days; on the others the service lost rows of one side.
    settled = Window.of_days(month.start.date(), month.end.date() - timedelta(days=UNSETTLED_DAYS))
    off = unreconciled(Lake(settings.lake_dir), settings.organization, settled, Decimal("0.05"))
    assert 1 < len({one.date for one in off}) < 10
    # A part names who used it: its user, key and model have such usage on that day in that project.
    lost = (
        "select count(*) from marts.cost_allocated a where basis in ('priced', 'quantity') and not exists ("
        "select 1 from marts.usage_priced u where u.date = a.date and u.project_id = a.project_id "
        "and u.user_id is not distinct from a.user_id and u.api_key_id is not distinct from a.api_key_id "
        "and u.model is not distinct from a.model and u.service_tier is not distinct from a.service_tier)"
    )
    assert rows(settings, lost) == [(0,)]


def played_week(data_dir: Path) -> tuple[Settings, Window]:
    """A real account's published week, synced."""
    export = json.loads((PAYLOADS / "dashboard_export_2025-10-05_to_12.json").read_text())
    service, settings = Played(NOW), played_settings(data_dir)
    for row in export["costs_rows"]:
        amount = None if row["amount_value"] is None else {"value": row["amount_value"], "currency": row["currency"]}
        service.put("costs", row["start_time"], {"object": "organization.costs.result", "amount": amount})
    usage: dict[int, list[dict[str, Any]]] = {}
    tokens = ("input_tokens", "output_tokens", "input_cached_tokens", "input_uncached_tokens")
    for row in export["usage_rows"]:
        result = {name: row[name] for name in ("model", "service_tier", *tokens)}
        result |= {
            "object": "organization.usage.completions.result",
            "num_model_requests": int(row["num_model_requests"]),
        }
        usage.setdefault(row["start_time"], []).append(result | {"batch": row["batch"] == "TRUE"})
    for start, results in usage.items():
        service.put("completions", start, *results)
    first = export["costs_rows"][0]["start_time"]
    window = Window.of_times(first, first + 8 * DAY)
    service.sync(settings, window, "costs", "completions")
    return settings, window


def test_a_real_week_shows_which_days_match_list_prices(data_dir: Path) -> None:
    """On 7, 10 and 11 October list prices times tokens are the bill to the last digit; on 5, 6 and 8 they are not."""
    settings, window = played_week(data_dir)
    compared = rows(settings, "select date, delta, is_exact from marts.reconciliation_daily order by date")
    assert compared == [
        (date(2025, 10, 5), Decimal("0.648614"), False),
        (date(2025, 10, 6), Decimal("-0.2540715"), False),
        (date(2025, 10, 7), Decimal(0), True),
        (date(2025, 10, 8), Decimal("0.5455665"), False),  # billed without any usage
        (date(2025, 10, 10), Decimal(0), True),
        (date(2025, 10, 11), Decimal(0), True),
    ]
    shares = rows(settings, "select round(explained_share, 4) from marts.reconciliation_daily order by date")
    assert [share for (share,) in shares] == [Decimal("0.2760"), 1, 1, 0, 1, 1]
    off = unreconciled(Lake(settings.lake_dir), "default", window, Decimal("0.05"))
    worst_first = sorted((one for one in compared if not one[2]), key=lambda one: -abs(one[1]))
    assert [(one.date, one.delta, False) for one in off] == worst_first
    lax = unreconciled(Lake(settings.lake_dir), "default", window, Decimal("0.5"))
    assert [one.date.day for one in lax] == [5, 8]
    # The bill tells no lines; still every day of it is spread, or says why not.
    spread = rows(
        settings, "select date, count(*), sum(amount), min(reason) from marts.cost_allocated group by 1 order by 1"
    )
    assert [(day.day, parts, reason) for day, parts, _, reason in spread] == [
        (5, 1, None), (6, 1, None), (7, 1, None), (8, 1, "no_usage"), (10, 1, None), (11, 1, None),
    ]  # fmt: skip
    assert unallocated_difference(Lake(settings.lake_dir), "default", window) == ()


def test_families_are_judged_apart_and_those_without_a_price_not(data_dir: Path) -> None:
    """Too much of one model does not make up for too little of another; the worst comes first, cents do not count."""
    service, settings = Played(NOW), played_settings(data_dir)
    use: dict[str, Any] = {"object": "organization.usage.completions.result", "project_id": "p", "batch": False}
    use |= {"service_tier": "default", "num_model_requests": 1, "output_tokens": 0}
    models = {"gpt-4o-2024-08-06": 1_600_000, "gpt-5-2025-08-07": 800_000, "gpt-4.1-2025-04-14": 1, "mystery-1": 9}
    billed = {"gpt-4o-2024-08-06": "2", "gpt-5-2025-08-07": "4", "gpt-4.1-2025-04-14": "0.01", "mystery-1": "7"}
    uses = [{**use, "model": model, "input_tokens": tokens} for model, tokens in models.items()]
    bill: dict[str, Any] = {"object": "organization.costs.result", "project_id": "p"}
    lines = {**{f"{model}, input": amount for model, amount in billed.items()}, "credit adjustment": "-5"}
    service.put("completions", FIRST, *uses)
    amounts = [bill | {"line_item": line, "amount": {"value": v, "currency": "usd"}} for line, v in lines.items()]
    service.put("costs", FIRST, *amounts)
    # Without a price on any day, a model is not judged on a day without usage either.
    unused = {**amounts[3], "amount": {"value": "11", "currency": "usd"}}
    service.put("costs", FIRST + DAY, unused, {**amounts[0], "amount": {"value": "2", "currency": "usd"}})
    window = Window.of_times(FIRST, FIRST + 2 * DAY)
    service.sync(settings, window, "costs", "completions")
    lake = Lake(settings.lake_dir)
    off = unreconciled(lake, "default", window, Decimal("0.05"))
    assert [(one.date.day, one.model_family, one.billed, one.estimated) for one in off] == [
        (2, "gpt-5", 4, 1),
        (2, "gpt-4o", 2, 4),
        (3, "gpt-4o", 2, 0),
    ]
    assert [(one.model_family, one.amount) for one in not_comparable(lake, "default", window)] == [
        ("mystery-1", 18),
        (None, -5),
    ]


def put_day(service: Played, number: int, billed: str, **tokens: int) -> None:
    """A day's bill of one line, and the input tokens of the API keys that used it."""
    start = FIRST + number * DAY
    result: dict[str, Any] = {"object": "organization.usage.completions.result", "project_id": "p"}
    result |= {"model": "gpt-4o-2024-08-06", "batch": False, "service_tier": "default", "output_tokens": 0}
    uses = [{**result, "num_model_requests": 1, "api_key_id": key, "input_tokens": n} for key, n in tokens.items()]
    bill = {"object": "organization.costs.result", "project_id": "p", "line_item": "gpt-4o-2024-08-06, input"}
    service.put("completions", start, *uses)
    service.put("costs", start, bill | {"amount": {"value": billed, "currency": "usd"}})


@pytest.mark.slow
def test_a_restated_day_alone_is_spread_again_and_equals_a_full_build(data_dir: Path, tmp_path: Path) -> None:
    """Usage that changes spreads its day's bill anew, and no other; the result is that of a build from nothing."""
    service, settings = Played(NOW), played_settings(data_dir)
    for number in range(4):
        put_day(service, number, "1.5", k1=100 + number, k2=200)
    window = Window.of_times(FIRST, FIRST + 4 * DAY)
    service.sync(settings, window, "costs", "completions")
    put_day(service, 2, "1.5", k1=600, k3=200)
    service.now += timedelta(hours=1)
    report = service.sync(settings, window, "costs", "completions")
    assert report.refreshed is not None
    built = {build.mart: build.days for build in report.refreshed.builds}
    changed = (date(2026, 11, 4),)
    assert (built["cost_allocated"], built["reconciliation_daily"]) == (changed, changed)
    spread = "select api_key_id, amount from marts.cost_allocated where date = '2026-11-04' order by 1"
    assert rows(settings, spread) == [("k1", Decimal("1.125")), ("k3", Decimal("0.375"))]
    fresh = played_settings(tmp_path / "fresh")
    service.sync(fresh, window, "costs", "completions")
    assert everything(settings, ["marts"]) == everything(fresh, ["marts"])


def test_a_bill_the_mart_does_not_know_yet_is_found(data_dir: Path) -> None:
    """The check compares with the newest costs: what came or changed since the build differs, line by line."""
    service, settings = Played(NOW), played_settings(data_dir)
    put_day(service, 0, "1.5", k1=100)
    put_day(service, 1, "2.5", k1=100)
    window = Window.of_times(FIRST, FIRST + 2 * DAY)
    service.sync(settings, window, "costs", "completions")
    lake = Lake(settings.lake_dir)
    assert unallocated_difference(lake, "default", window) == ()
    table = lake.mart("cost_allocated", mart_schema("cost_allocated"))
    table.overwrite(table.schema.empty_table())
    found = unallocated_difference(lake, "default", window)
    assert [(one.date.day, one.project_id, one.billed, one.allocated) for one in found] == [
        (2, "p", Decimal("1.5"), None),
        (3, "p", Decimal("2.5"), None),
    ]
    assert unallocated_difference(lake, "other", window) == ()


def test_a_changed_grammar_changes_the_marts_that_stand_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A derived view's text is part of a mart's hash, one view further down too; other marts keep theirs."""
    names = ("cost_allocated", "cost_daily")
    before = {name: load_marts()[name].sql_hash for name in names}
    changed = [
        replace(view, sql=f"{view.sql} limit 1") if view.name == "cost_lines" else view for view in derived_relations()
    ]
    monkeypatch.setattr(derived, "derived_relations", lambda: changed)  # stands for a newer version of the package
    derived._with_reads.cache_clear()
    try:
        after = {name: load_marts()[name].sql_hash for name in names}
    finally:
        derived._with_reads.cache_clear()
    assert [before[name] == after[name] for name in names] == [False, True]
