"""Captured answers of the real service, each through the whole path: wire, raw, Arrow, lake, published file."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.errors import IncompleteListing
from usage_pipeline.lake.landing import landed_files, load
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import PAYLOADS, Played, played_settings
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("cost_daily")

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = 86400


def captured(name: str) -> Any:
    """A captured payload with its number literals as text."""
    return json.loads((PAYLOADS / name).read_text(), parse_float=lambda text: f"literal:{text}")


def wire(value: Any) -> str:
    """JSON text in which captured number literals stand exactly as they did."""
    text = json.dumps(value)
    while '"literal:' in text:
        before, _, rest = text.partition('"literal:')
        number, _, after = rest.partition('"')
        text = before + number + after
    return text


def days_of(start_time: int, count: int) -> Window:
    """A window of whole days."""
    return Window.of_times(start_time, start_time + count * DAY)


def play_page(name: str, data_dir: Path) -> tuple[Any, Any]:
    """Play a captured costs page; returns its buckets and the settings it was synced with."""
    page = captured(name)
    service, settings = Played(NOW), played_settings(data_dir)
    for bucket in page["data"]:
        service.put("costs", bucket["start_time"], *map(wire, bucket["results"]))
    first, last = page["data"][0]["start_time"], page["data"][-1]["end_time"]
    service.sync(settings, Window.of_times(first, last), "costs")
    return page["data"], settings


def test_a_page_of_empty_cost_days_gives_two_known_empty_days(data_dir: Path) -> None:
    """Buckets with `results: []` make the days known, with no row."""
    _, settings = play_page("costs_live_2026-06-13_empty.json", data_dir)
    assert rows(settings, "select count(*) from usage.costs") == [(0,)]
    assert rows(settings, "select date, rows from meta.coverage order by date") == [
        (date(2026, 6, 6), 0),
        (date(2026, 6, 7), 0),
    ]


def test_string_amounts_of_34_digits_are_exact_with_their_literals(data_dir: Path) -> None:
    """Amounts that came as strings, `0E-6176` for zero among them, are exact decimals beside the very text."""
    _, settings = play_page("costs_live_2026-06-15_string_amounts.json", data_dir)
    found = rows(
        settings, "select line_item, amount, amount_literal, currency, quantity, user_id from usage.costs order by 1"
    )
    assert found == [
        ("gpt-4o-mini-2024-07-18, cached input", Decimal(0), "0E-6176", "usd", Decimal(0), None),
        (
            "gpt-4o-mini-2024-07-18, input",
            Decimal("0.0000045"),
            "0.000004500000000000000000000000000000000",
            "usd",
            Decimal(30),
            None,
        ),
        (
            "gpt-4o-mini-2024-07-18, output",
            Decimal("0.0000342"),
            "0.00003420000000000000000000000000000000",
            "usd",
            Decimal(57),
            None,
        ),
    ]
    assert rows(settings, "select distinct extras->>'project_name' from usage.costs") == [("Default project",)]
    assert rows(settings, "select drift from meta.sync_log") == [([],)]


@pytest.mark.parametrize("literal", captured("costs_live_2026-07_amount_strings.json")["amount.value seen"])
def test_every_captured_amount_string_is_exact(literal: str, data_dir: Path) -> None:
    """Each amount text seen on the wire is stored with its exact value."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.put(
        "costs", 1783900800, {"object": "organization.costs.result", "amount": {"value": literal, "currency": "usd"}}
    )
    service.sync(settings, days_of(1783900800, 1), "costs")
    assert rows(settings, "select amount, amount_literal from usage.costs") == [(Decimal(literal) + 0, literal)]


def test_cookbook_cost_rows_keep_floats_in_either_notation(data_dir: Path) -> None:
    """JSON numbers, scientific ones too, are read from their literal."""
    service, settings = Played(NOW), played_settings(data_dir)
    cost_rows = captured("cookbook_costs_group_by_line_item_rows.json")
    by_start: dict[int, list[str]] = {}
    for row in cost_rows:
        result = {
            "object": "organization.costs.result",
            "amount": {"value": row["amount"], "currency": "usd"},
            "line_item": row["line_item"],
            "project_id": row["project_id"],
        }
        by_start.setdefault(row["start_time"], []).append(wire(result))
    for start, results in by_start.items():
        service.put("costs", start, *results)
    service.sync(settings, days_of(min(by_start), 2), "costs")
    found = rows(settings, "select amount_literal, amount from usage.costs")
    expected = [row["amount"].removeprefix("literal:") for row in cost_rows]
    assert sorted(text for text, _ in found) == sorted(expected)
    assert all(amount == Decimal(text) for text, amount in found)
    assert rows(settings, "select sum(amount) from marts.cost_daily") == [(sum(map(Decimal, expected)),)]


def test_cookbook_usage_rows_arrive_with_their_models(data_dir: Path) -> None:
    """Usage rows with fine-tuned model names and null batch are stored as they came."""
    service, settings = Played(NOW), played_settings(data_dir)
    usage_rows = captured("cookbook_usage_group_by_model_project_rows.json")
    midnight = usage_rows[0]["start_time"] // DAY * DAY
    results = [
        {"object": "organization.usage.completions.result"}
        | {name: value for name, value in row.items() if name not in {"start_time", "end_time"}}
        for row in usage_rows
    ]
    service.put("completions", midnight, *results)
    service.sync(settings, days_of(midnight, 1), "completions")
    found = rows(
        settings, "select model, input_tokens, output_tokens, num_model_requests, batch from usage.completions"
    )
    assert sorted(found) == sorted(
        (row["model"], row["input_tokens"], row["output_tokens"], row["num_model_requests"], None) for row in usage_rows
    )


def test_the_bucket_at_an_odd_second_is_refused(data_dir: Path) -> None:
    """The capture's first bucket starts where an unaligned start cut it; such a bucket never enters the lake."""
    first = captured("cookbook_usage_group_by_model_project_rows.json")[0]

    class Odd(Played):
        def handle(self, request: Any) -> Any:
            answer = super().handle(request)
            text = answer.content.replace(
                str(first["start_time"] // DAY * DAY).encode(), str(first["start_time"]).encode()
            )
            return type(answer)(200, content=text, headers={"content-type": "application/json"})

    service, settings = Odd(NOW), played_settings(data_dir)
    window = days_of(first["start_time"] // DAY * DAY, 1)
    report = sync(settings, choose_endpoints(["completions"]), window, client_factory=service.client)
    assert isinstance(report.failed[0].error, IncompleteListing)
    assert list(landed_files(settings.raw_dir)) == []


def test_a_minute_bucket_with_all_splits_arrives(data_dir: Path) -> None:
    """A captured 1m result lands in its minute with every split, and the other minutes are known to be empty."""
    capture = captured("usage_completions_1m_2025-10-09.json")
    start = int(datetime.fromisoformat(capture["bucket"]["start_iso"]).replace(tzinfo=UTC).timestamp())
    service, settings = Played(NOW), played_settings(data_dir, USAGE_PIPELINE_BUCKET_WIDTH="1m")
    service.put("completions", start, capture["result"])
    report = service.sync(settings, days_of(start // DAY * DAY, 1), "completions")
    assert report.endpoints[0].total("buckets") == 1440
    names = [name for name in capture["result"] if name != "object"]
    found = rows(settings, f"select bucket_start, bucket_end, {', '.join(names)} from usage.completions")
    minute = datetime.fromtimestamp(start, UTC).replace(tzinfo=None)
    assert found == [(minute, minute + timedelta(minutes=1), *(capture["result"][name] for name in names))]


def test_a_week_of_a_real_export_arrives_to_the_last_digit(data_dir: Path) -> None:
    """Usage and costs of a real account's week: days without a billed amount are null or empty, the sum is exact."""
    export = captured("dashboard_export_2025-10-05_to_12.json")
    service, settings = Played(NOW), played_settings(data_dir)
    for row in export["costs_rows"]:
        amount = None if row["amount_value"] is None else {"value": row["amount_value"], "currency": row["currency"]}
        service.put("costs", row["start_time"], {"object": "organization.costs.result", "amount": amount})
    usage: dict[int, list[dict[str, Any]]] = {}
    for row in export["usage_rows"]:
        result = {name: row[name] for name in ("model", "service_tier", "input_tokens", "output_tokens")}
        result |= {name: row[name] for name in ("input_cached_tokens", "input_uncached_tokens")}
        requests = int(Decimal(row["num_model_requests"].removeprefix("literal:")))  # the export's CSV made it a float
        result |= {"object": "organization.usage.completions.result", "num_model_requests": requests}
        usage.setdefault(row["start_time"], []).append(result | {"batch": row["batch"] == "TRUE"})
    for start, results in usage.items():
        service.put("completions", start, *results)
    window = days_of(export["costs_rows"][0]["start_time"], 8)
    service.sync(settings, window, "costs", "completions")
    billed = [Decimal(row["amount_value"]) for row in export["costs_rows"] if row["amount_value"] is not None]
    assert rows(settings, "select sum(amount), count(*) from usage.costs") == [(sum(billed), 8)]
    # Two results of 6 October have the same dimensions: they are one row, summed.
    assert rows(settings, "select count(*), sum(input_tokens) from usage.completions") == [
        (len(export["usage_rows"]) - 1, sum(row["input_tokens"] for row in export["usage_rows"]))
    ]


def test_raw_holds_a_captured_body_as_received(data_dir: Path) -> None:
    """What is archived is the response's very bytes."""
    buckets, settings = play_page("costs_live_2026-06-15_string_amounts.json", data_dir)
    body = load(next(landed_files(settings.raw_dir))).pages[0].body
    assert b'"0.000004500000000000000000000000000000000"' in body
    assert [b["start_time"] for b in json.loads(body)["data"]] == [b["start_time"] for b in buckets]
