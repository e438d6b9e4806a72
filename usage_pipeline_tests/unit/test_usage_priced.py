"""Usage priced: every token in one meter, every cost exact, every assumption named."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import pytest
from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr, ModelInfo, Usage
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.marts.price_book import book_table
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.priced import DAY, Bench, open_bench
from usage_pipeline_tests.world import World, everything, last_days, rows

pytestmark = pytest.mark.marts("unpriced_models", "usage_daily", "usage_priced")

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600  # 2026-11-02
DAY_SECONDS = 86400
OPENAI = next(provider for provider in providers if provider.id == "openai")
TOKENS = [m.name for m in ENDPOINTS["completions"].measures if m.name.startswith(("input_", "output_"))]
COMPLETION = {"object": "organization.usage.completions.result", "num_model_requests": 1, "project_id": "p"}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A database to set usage and prices in."""
    with open_bench() as bench:
        yield bench


_COUNT = st.none() | st.just(0) | st.integers(0, 2**40)


@settings(max_examples=120)
@given(usage=st.lists(st.fixed_dictionaries(dict.fromkeys(TOKENS, _COUNT)), min_size=1, max_size=4))
def test_meters_hold_every_token_once(bench: Bench, usage: list[dict[str, int | None]]) -> None:
    """Whatever splits are given, null, zero or contradictory: the meters add up to the totals, none is negative."""
    bench.use([{"project_id": str(n), **row} for n, row in enumerate(usage)])
    found = bench.ask("select project_id, meter, quantity from derived.usage_meters")
    assert all(quantity > 0 for _, _, quantity in found)
    for n, row in enumerate(usage):
        mine = {meter: quantity for project, meter, quantity in found if project == str(n)}
        output = sum(quantity for meter, quantity in mine.items() if meter.endswith("output"))
        assert output == (row["output_tokens"] or 0)
        assert sum(mine.values()) - output == (row["input_tokens"] or 0)


_PART = st.integers(0, 10**9)


@settings(max_examples=80)
@given(
    text=_PART, audio=_PART, image=_PART, cached_text=_PART, cached_audio=_PART, cached_image=_PART,
    written=_PART, out_text=_PART, out_audio=_PART, out_image=_PART, is_old=st.booleans(),
)  # fmt: skip
def test_splits_that_keep_the_services_identities_are_taken_as_they_are(
    bench: Bench, is_old: bool, **part: int
) -> None:
    """Each meter is its own split; audio tokens of before mid-2026, which held the cached ones, are counted once."""
    cached = part["cached_text"] + part["cached_audio"] + part["cached_image"]
    uncached = part["text"] + part["audio"] + part["image"]
    bench.use(
        [
            {
                "input_tokens": cached + uncached + part["written"],
                "input_uncached_tokens": uncached,
                "input_cached_tokens": cached,
                "input_cache_write_tokens": part["written"],
                "input_text_tokens": part["text"],
                "input_audio_tokens": part["audio"] + (part["cached_audio"] if is_old else 0),
                "input_image_tokens": part["image"],
                "input_cached_text_tokens": part["cached_text"],
                "input_cached_audio_tokens": part["cached_audio"],
                "input_cached_image_tokens": part["cached_image"],
                "output_tokens": part["out_text"] + part["out_audio"] + part["out_image"],
                "output_audio_tokens": part["out_audio"],
                "output_image_tokens": part["out_image"],
            }
        ]
    )
    names = {
        "input": "text", "audio input": "audio", "image input": "image", "cached input": "cached_text",
        "cached audio input": "cached_audio", "cached image input": "cached_image", "cache write": "written",
        "output": "out_text", "audio output": "out_audio", "image output": "out_image",
    }  # fmt: skip
    found = dict(bench.ask("select meter, quantity from derived.usage_meters"))
    assert found == {meter: part[name] for meter, name in names.items() if part[name]}


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({}, {"input": 100}),
        ({"input_cached_tokens": 30}, {"input": 70, "cached input": 30}),
        ({"input_uncached_tokens": 60}, {"input": 60, "cached input": 40}),
        ({"input_cached_text_tokens": 10, "input_cached_audio_tokens": 5},
         {"input": 85, "cached input": 10, "cached audio input": 5}),
        ({"input_cache_write_30m_tokens": 4, "input_cache_write_12h_tokens": 6}, {"input": 90, "cache write": 10}),
        ({"input_cached_tokens": 130, "input_audio_tokens": 7}, {"cached input": 100}),
        ({"input_audio_tokens": 80, "input_image_tokens": 80}, {"audio input": 80, "image input": 20}),
        ({"input_uncached_tokens": 0, "input_cached_tokens": 0, "input_text_tokens": 0}, {"input": 100}),
    ],
)  # fmt: skip
def test_missing_splits_fall_back_and_contradicting_ones_are_cut(
    bench: Bench, splits: dict[str, int], expected: dict[str, int]
) -> None:
    """Of 100 input tokens, what no split accounts for is plain input; a split larger than its total is cut to it."""
    bench.use([{"input_tokens": 100, **splits}])
    assert dict(bench.ask("select meter, quantity from derived.usage_meters")) == expected


@pytest.mark.slow
@settings(max_examples=120)
@given(
    quantity=st.integers(1, 10**13),
    price=st.decimals(0, 100_000, places=12),
    per=st.sampled_from([1, 60, 1000, 3600, 10**6, 2**30, 10**12]) | st.integers(1, 10**12),
)
def test_a_cost_is_quantity_times_price_exactly(bench: Bench, quantity: int, price: Decimal, per: int) -> None:
    """The cost equals the decimal arithmetic to the twentieth digit, for any price, quantity and unit."""
    bench.use([{"input_tokens": quantity, "model": "m"}])
    bench.price([{"pattern": "m", "price": price, "per": per}])
    with localcontext() as exact:
        exact.prec = 100
        expected = (quantity * price / per).quantize(Decimal("1e-20"), ROUND_HALF_UP)
    assert bench.costs("estimated_cost, price_basis") == [(expected, "exact")]


_CONTEXTS = [
    ({}, {}),
    ({"service_tier": "flex"}, {"service_tier": "flex"}),
    ({"service_tier": "priority"}, {"service_tier": "priority"}),
    ({"service_tier": "default", "batch": True}, {"processing": "batch"}),
]


def _exact_name(model: ModelInfo) -> str | None:
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    return next((one.equals for one in clauses if isinstance(one, ClauseEquals)), None)


@pytest.mark.parametrize("day", [date(2025, 3, 1), date(2026, 10, 13), date(2026, 11, 2)], ids=str)
def test_costs_equal_the_price_books_own_calculation(bench: Bench, day: date) -> None:
    """For every model, tier and batch, a request below every threshold costs what genai-prices itself says."""
    bench.price(book_table("book"))
    usage, expected = [], {}
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for model in OPENAI.models:
        name = _exact_name(model)
        if name is None or getattr(model.get_prices(at), "input_mtok", None) is None:
            continue
        for place, (columns, context) in enumerate(_CONTEXTS):
            base = {"model": name, "project_id": str(place), "date": day, "batch": False, "service_tier": "default"}
            counts = {
                "input_tokens": 1000, "input_cached_tokens": 300, "input_cached_audio_tokens": 20,
                "input_cached_image_tokens": 30, "input_cache_write_tokens": 50, "input_audio_tokens": 70,
                "input_image_tokens": 80, "output_tokens": 500, "output_audio_tokens": 60, "output_image_tokens": 40,
            }  # fmt: skip
            if getattr(model.get_prices(at), "output_mtok", None) is None:
                counts |= {"output_tokens": 0, "output_audio_tokens": 0, "output_image_tokens": 0}
            usage.append({**base, **columns, **counts})
            theirs = Usage(
                input_tokens=1000, cache_read_tokens=300, cache_audio_read_tokens=20, cache_image_read_tokens=30,
                cache_write_tokens=50, input_audio_tokens=90, input_image_tokens=110,
                output_tokens=counts["output_tokens"], output_audio_tokens=counts["output_audio_tokens"],
                output_image_tokens=counts["output_image_tokens"],
            )  # fmt: skip
            calculated = model.calc_price(theirs, OPENAI, genai_request_timestamp=at, price_context=context)
            expected[name, str(place)] = calculated.total_price
    bench.use(usage)
    found = bench.costs("model, project_id, estimated_cost")
    costs = dict.fromkeys(expected, Decimal(0))
    for model_name, place, cost in found:
        costs[model_name, place] += cost
    assert len(costs) > 300
    assert {key: cost for key, cost in costs.items() if cost != expected[key]} == {}


def test_a_threshold_per_request_is_never_applied_to_a_days_sum(bench: Bench) -> None:
    """A day of many million tokens costs the base rate, and says that the model has dearer ones."""
    bench.price(book_table("book"))
    bench.use([{"model": "gpt-5.4", "input_tokens": 50_000_000, "service_tier": "default", "batch": False}])
    base = next(model for model in OPENAI.models if model.id == "gpt-5.4").get_prices(NOW).input_mtok.base
    assert bench.costs("estimated_cost, has_threshold, price_basis") == [(base * 50, True, "exact")]


@pytest.mark.parametrize(
    ("usage", "price", "basis"),
    [
        ({"service_tier": "default", "batch": False}, "2.5", "exact"),
        ({"service_tier": "standard", "batch": False}, "2.5", "exact"),
        ({"service_tier": "priority", "batch": False}, "4.25", "exact"),
        ({"service_tier": "default", "batch": True}, "1.25", "exact"),
        ({"service_tier": None, "batch": True}, "1.25", "exact"),
        ({"service_tier": "flex", "batch": False}, "2.5", "tier_assumed"),
        ({"service_tier": "flex", "batch": True}, "1.25", "tier_assumed"),
        ({"service_tier": None, "batch": False}, "2.5", "tier_assumed"),
        ({"service_tier": "default", "batch": None}, "2.5", "tier_assumed"),
        ({"service_tier": "default", "batch": True, "date": date(2026, 10, 13)}, "2.5", "tier_assumed"),
        ({"service_tier": "default", "batch": True, "model": "gpt-4o-2024-05-13"}, "2.5", "exact"),
        ({"service_tier": "default", "batch": True, "model": "gpt-4-32k"}, "60", "tier_assumed"),
        ({"service_tier": "default", "batch": False, "model": "ft:gpt-4o-2024-08-06:acme::abc"}, "3.75", "model_alias"),
        ({"service_tier": "default", "batch": False, "model": "GPT-5-nano-2031-01-01"}, "0.05", "model_alias"),
        ({"service_tier": "default", "batch": False, "model": "gpt-9"}, None, "unpriced"),
        ({"service_tier": "default", "batch": False, "model": None}, None, "unpriced"),
        ({"service_tier": "default", "batch": False, "model": "o3", "date": date(2025, 6, 9)}, "10", "exact"),
        ({"service_tier": "default", "batch": False, "model": "o3", "date": date(2025, 6, 10)}, "2", "exact"),
    ],
)  # fmt: skip
def test_the_price_of_tier_batch_and_day_is_taken_and_each_assumption_is_named(
    bench: Bench, usage: dict[str, object], price: str | None, basis: str
) -> None:
    """Own prices are exact; base rates in place of them, names by their beginning, and unknown models say so."""
    bench.price(book_table("book"))
    bench.use([{"model": "gpt-4o", "input_tokens": 1_000_000, **usage}])
    expected = None if price is None else Decimal(price)
    assert bench.costs("price, estimated_cost, price_basis") == [(expected, expected, basis)]


def test_overrides_beat_the_book_where_they_apply_and_the_more_special_one_wins(bench: Bench) -> None:
    """An exact name beats a beginning, a tier's own price the general one, and outside its days the book holds."""
    import pyarrow as pa

    book = book_table("book")
    base = {"source": "override", "is_override": True, "per": 1_000_000, "currency": "eur", "has_threshold": False}
    overrides = [
        {"priority": 0, "match": "equals", "pattern": "gpt-4o", "meter": "input", "price": Decimal(1)},
        {"priority": 0, "match": "equals", "pattern": "gpt-4o", "meter": "input", "price": Decimal(7),
         "service_tier": "priority"},
        {"priority": 1, "match": "starts_with", "pattern": "gpt-4", "meter": "input", "price": Decimal(3),
         "valid_from": date(2026, 11, 2), "valid_to": date(2026, 11, 3)},
        {"priority": 2, "match": "starts_with", "pattern": "in-house", "meter": "input", "price": Decimal(9),
         "service_tier": "default", "is_batch": False},
    ]  # fmt: skip
    bench.price(pa.concat_tables([pa.Table.from_pylist([{**base, **r} for r in overrides], schema=book.schema), book]))
    cases = [
        ("gpt-4o", "default", DAY, "1", "eur", "exact"),
        ("gpt-4o", "flex", DAY, "1", "eur", "exact"),
        ("gpt-4o", "priority", DAY, "7", "eur", "exact"),
        ("gpt-4.1", "default", DAY, "3", "eur", "exact"),
        ("gpt-4.1", "default", date(2026, 11, 3), "2", "usd", "exact"),
        ("in-house-7", "default", DAY, "9", "eur", "exact"),
        ("in-house-7", "flex", DAY, "9", "eur", "tier_assumed"),
    ]
    for model, tier, day, price, currency, basis in cases:
        bench.use(
            [{"model": model, "service_tier": tier, "batch": False, "date": day, "input_tokens": 2, "output_tokens": 0}]
        )
        assert bench.costs("price, currency, price_basis") == [(Decimal(price), currency, basis)], model
    bench.use([{"model": "gpt-4o", "service_tier": "default", "batch": False, "input_tokens": 2, "output_tokens": 3}])
    assert bench.costs("meter, price, currency") == [
        ("input", Decimal(1), "eur"),
        ("output", Decimal(10), "usd"),
    ]


def test_every_endpoint_with_something_priceable_is_there_with_its_unit(settings: object, still_world: World) -> None:
    """No measure of usage vanishes: quantities equal the usage tables' sums, and unpriced ones have no cost at all."""
    still_world.sync(settings, last_days(5))
    meters = rows(settings, "select endpoint, meter, unit, sum(quantity)::bigint from marts.usage_priced group by all")
    found = {(endpoint, meter): (unit, quantity) for endpoint, meter, unit, quantity in meters}
    assert {endpoint for endpoint, _ in found} == set(ENDPOINTS) - {"costs"}
    for endpoint, meter, measure in (
        ("images", "images", "images"), ("audio_speeches", "characters", "characters"),
        ("audio_transcriptions", "seconds", "seconds"), ("web_search_calls", "requests", "num_requests"),
        ("file_search_calls", "requests", "num_requests"), ("code_interpreter_sessions", "sessions", "num_sessions"),
        ("embeddings", "input", "input_tokens"), ("moderations", "input", "input_tokens"),
    ):  # fmt: skip
        assert found[endpoint, meter][1] == rows(settings, f"select sum({measure}) from usage.{endpoint}")[0][0]
    for endpoint in ("completions", "decisions"):
        total = rows(settings, f"select sum(input_tokens + output_tokens) from usage.{endpoint}")[0][0]
        assert sum(quantity for (name, _), (_, quantity) in found.items() if name == endpoint) == total
    assert found["vector_stores", "storage"][0] == "byte_days"
    odd = "select * from marts.usage_priced where (price_basis = 'unpriced') <> (estimated_cost is null)"
    assert rows(settings, odd) == []
    free = "select distinct price_basis, estimated_cost from marts.usage_priced where endpoint = 'moderations'"
    assert rows(settings, free) == [("exact", Decimal(0))]


def _put(service: Played, day: int, **fields: object) -> None:
    base = {"model": "gpt-4o", "batch": False, "service_tier": "default", "input_tokens": 1_000_000, "output_tokens": 0}
    service.put("completions", FIRST + day * DAY_SECONDS, {**COMPLETION, **base, **fields})


def test_an_unknown_model_is_listed_with_its_days_and_quantity(data_dir: Path) -> None:
    """What has no price is not zero: its cost is null, and it stands in unpriced_models until a price is given."""
    service, settings = Played(NOW), played_settings(data_dir)
    for day in range(3):
        _put(service, day, model="gpt-9-preview", output_tokens=5)
    service.sync(settings, Window.of_times(FIRST, FIRST + 3 * DAY_SECONDS), "completions")
    listed = "select model, meter, first_day, last_day, quantity, unit from marts.unpriced_models order by meter"
    first, last = date(2026, 11, 2), date(2026, 11, 4)
    assert rows(settings, listed) == [
        ("gpt-9-preview", "input", first, last, 3_000_000, "tokens"),
        ("gpt-9-preview", "output", first, last, 15, "tokens"),
    ]
    assert rows(settings, "select sum(estimated_cost) from marts.usage_priced") == [(None,)]
    (data_dir / "prices.csv").write_text("model,meter,price\ngpt-9*,input,4\n")
    refresh(settings)
    assert [row[1] for row in rows(settings, listed)] == ["output"]
    assert rows(settings, "select sum(estimated_cost) from marts.usage_priced") == [(Decimal(12),)]


def test_a_price_change_recomputes_the_days_it_holds_on_and_equals_a_full_build(data_dir: Path, tmp_path: Path) -> None:
    """A day already built takes the new price, and the result is that of a warehouse built with it from the start."""
    service, settings, fresh = Played(NOW), played_settings(data_dir), played_settings(tmp_path / "fresh")
    for day in range(3):
        _put(service, day)
    window = Window.of_times(FIRST, FIRST + 3 * DAY_SECONDS)
    service.sync(settings, window, "completions")
    costs = "select date, estimated_cost, price_basis from marts.usage_priced order by date"
    assert [row[1] for row in rows(settings, costs)] == [Decimal("2.5")] * 3
    text = "model,meter,valid_from,valid_to,price\ngpt-4o,input,2026-11-03,2026-11-04,9\n"
    for folder in (data_dir, tmp_path / "fresh"):
        folder.mkdir(exist_ok=True)
        (folder / "prices.csv").write_text(text)
    built = {build.mart: len(build.days) for build in refresh(settings).builds}
    assert built["usage_priced"] == 1
    assert built["usage_daily"] == 0
    assert [row[1] for row in rows(settings, costs)] == [Decimal("2.5"), Decimal(9), Decimal("2.5")]
    service.sync(fresh, window, "completions")
    assert everything(settings, ("marts", "dims")) == everything(fresh, ("marts", "dims"))
    assert not any(build.days for build in refresh(settings).builds)


def test_stored_bytes_are_counted_once_a_day_and_can_be_priced(data_dir: Path) -> None:
    """At 1h the day's last level counts as held for the day; an override prices it per gibibyte-day."""
    service, settings = Played(NOW), played_settings(data_dir, USAGE_PIPELINE_BUCKET_WIDTH="1h")
    for hour in range(24):
        result = {"object": "organization.usage.vector_stores.result", "usage_bytes": (hour + 1) * 2**28}
        service.put("vector_stores", FIRST + hour * 3600, result)
    data_dir.mkdir()
    (data_dir / "prices.csv").write_text(f"model,meter,price,per\n*,storage,0.10,{2**30}\n")
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY_SECONDS), "vector_stores")
    found = rows(settings, "select quantity, unit, estimated_cost, price_basis from marts.usage_priced")
    assert found == [(6 * 2**30, "byte_days", Decimal("0.6"), "exact")]


def test_the_contract_others_build_on_holds() -> None:
    """The mart's grain and the columns that other marts read."""
    mart = load_marts()["usage_priced"]
    assert mart.grain == (
        "organization", "date", "endpoint", "project_id", "user_id", "api_key_id", "model", "batch", "service_tier",
        "meter",
    )  # fmt: skip
    assert mart.dims == {"prices"}
    assert mart.endpoints == set(ENDPOINTS) - {"costs"}
