"""Who a billed row is spread over: the day's usage of its project, model and meter, by what that usage should cost."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from usage_pipeline_tests.billed import Bench, Row, cost, open_bench, used

INPUT = "gpt-4o-2024-08-06, input"
FINE_TUNE = "ft:gpt-4o-2024-08-06:acme::abc"
FINE_TUNE_KEY, FINE_TUNE_INPUT = "ft-gpt-4o-2024-08-06", "ft-gpt-4o-2024-08-06, input"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One engine for all tests; each question fills its tables anew."""
    with open_bench() as found:
        yield found


def got(rows: Sequence[Row], *names: str) -> list[tuple[Any, ...]]:
    """Some columns of the rows, amounts as whole numbers where they are."""
    return [tuple(row[name] for name in names) for row in rows]


def test_a_row_is_spread_by_the_cost_of_each_use(bench: Bench) -> None:
    """Batch and tier count with their own price; the parts say who, with what, and their share."""
    usage = [used("input", 3, api_key_id="k1", batch=False), used("input", 1, api_key_id="k2", batch=True)]
    found = bench.allocate([cost(INPUT, 8)], usage)
    names = ("user_id", "api_key_id", "model", "batch", "amount", "share", "billed_amount", "basis", "reason")
    assert got(found, *names) == [
        ("u", "k1", "gpt-4o-2024-08-06", False, 6, Decimal("0.75"), 8, "priced", None),
        ("u", "k2", "gpt-4o-2024-08-06", True, 2, Decimal("0.25"), 8, "priced", None),
    ]


def test_the_last_digit_goes_to_the_largest_remainder_and_ties_to_the_first_key(bench: Bench) -> None:
    """A third of one dollar each: the odd last digit goes to the first key; a credit is the bill's mirror image."""
    usage = [used("input", 1, api_key_id=key) for key in ("k2", "k3", "k1")]
    for sign in (1, -1):
        amounts = [row["amount"] for row in bench.allocate([cost(INPUT, sign)], usage)]
        assert [str(sign * one) for one in amounts] == ["0.33333333333333333334", *["0.33333333333333333333"] * 2]


def test_a_row_billed_to_a_key_and_user_stays_with_them(bench: Bench) -> None:
    """Each billed key is spread over its own usage alone; a bill's row without a key takes usage without one."""
    usage = [used("input", 1, api_key_id=key, service_tier=tier) for key in ("k1", "k2", None) for tier in ("a", "b")]
    bill = [cost(INPUT, 2, api_key_id="k1", user_id="u"), cost(INPUT, 4, user_id="u")]
    found = bench.allocate(bill, usage)
    names = ("billed_api_key_id", "api_key_id", "user_id", "service_tier", "amount")
    assert got(found, *names) == [
        ("k1", "k1", "u", "a", 1),
        ("k1", "k1", "u", "b", 1),
        (None, None, "u", "a", 2),
        (None, None, "u", "b", 2),
    ]


def test_a_bill_without_keys_is_spread_over_all_keys(bench: Bench) -> None:
    """Where the day's bill was not read by key, a row's missing key stands for any."""
    usage = [used("input", 1, api_key_id=key) for key in ("k1", "k2", None)]
    assert got(bench.allocate([cost(INPUT, 3)], usage), "api_key_id", "amount") == [("k1", 1), ("k2", 1), (None, 1)]


@pytest.mark.parametrize("dimension", ["api_key_id", "user_id"])
def test_on_a_day_billed_by_key_a_row_without_one_takes_no_keys_usage(bench: Bench, dimension: str) -> None:
    """What the bill says was nobody's is given to nobody, though others used it; likewise for users."""
    bill = [cost(INPUT, 2, **{dimension: "a"}), cost(INPUT, 4)]
    usage = [used("input", 1, **{dimension: who}) for who in ("a", "b")]
    assert got(bench.allocate(bill, usage), f"billed_{dimension}", dimension, "amount", "reason") == [
        ("a", "a", 2, None),
        (None, None, 4, "no_usage"),
    ]
    nobodys = used("input", 1, **{dimension: None})
    assert got(bench.allocate(bill, [*usage, nobodys]), dimension, "amount", "basis") == [
        ("a", 2, "priced"),
        (None, 4, "priced"),
    ]


def test_usage_that_tells_no_key_serves_a_billed_key(bench: Bench) -> None:
    """Only where the key itself has no usage; the part keeps the key the bill names."""
    usage = [used("input", 1, api_key_id=None, user_id=None, service_tier="flex")]
    found = bench.allocate([cost(INPUT, 2, api_key_id="k1")], usage)
    assert got(found, "api_key_id", "service_tier", "amount", "basis") == [("k1", "flex", 2, "priced")]


def test_another_keys_usage_is_no_match(bench: Bench) -> None:
    """A key billed without usage of its own is a residual that names the key, for the bill itself said it."""
    found = bench.allocate(
        [cost(INPUT, 2, api_key_id="gone", quantity=Decimal(7), quantity_unit="tokens")], [used("input", 1)]
    )
    names = ("api_key_id", "model", "amount", "reason", "basis", "share", "quantity", "quantity_unit")
    assert got(found, *names) == [("gone", "gpt-4o-2024-08-06", 2, "no_usage", "billed", 1, 7, "tokens")]


def test_days_projects_models_and_meters_do_not_mix(bench: Bench) -> None:
    """Usage of another day, project, model or meter takes no part."""
    others = [
        used("input", 9, date="2026-11-03"),
        used("input", 9, project_id="other"),
        used("input", 9, organization="other"),
        used("input", 9, model="gpt-4o-mini"),
        used("output", 9),
        used("cached input", 9),
    ]
    found = bench.allocate([cost(INPUT, 2)], [*others, used("input", 1, api_key_id="mine")])
    assert got(found, "api_key_id", "amount") == [("mine", 2)]


def test_currencies_are_spread_apart(bench: Bench) -> None:
    """Two currencies of one line are two rows, each with its own parts."""
    usage = [used("input", 1, api_key_id=key) for key in ("k1", "k2")]
    found = bench.allocate([cost(INPUT, 2), cost(INPUT, 5, currency="eur")], usage)
    half = Decimal("2.5")
    assert got(found, "currency", "api_key_id", "amount") == [
        ("eur", "k1", half), ("eur", "k2", half), ("usd", "k1", 1), ("usd", "k2", 1),
    ]  # fmt: skip


def test_input_takes_its_kinds_along_unless_they_have_a_line(bench: Bench) -> None:
    """Cache writes, audio and images count as input, until the bill has a line of their own for the model."""
    usage = [used(meter, 1, api_key_id=meter) for meter in ("input", "cache write", "audio input", "image input")]
    names = ("line_item", "api_key_id", "amount")
    assert len(bench.allocate([cost(INPUT, 4)], usage)) == 4
    audio = "gpt-4o-2024-08-06, audio input"
    assert got(bench.allocate([cost(INPUT, 3), cost(audio, 5)], usage), *names) == [
        (audio, "audio input", 5),
        (INPUT, "cache write", 1),
        (INPUT, "image input", 1),
        (INPUT, "input", 1),
    ]


@pytest.mark.parametrize(
    ("line_item", "model"),
    [
        ("ft-gpt-4o-2024-08-06, input", FINE_TUNE),
        ("chat-latest , input", "chat-latest"),
        ("evals | gpt-4o-mini-2024-07-18, input", "gpt-4o-mini-2024-07-18"),
        ("gpt-5, input_tokens", "gpt-5-2025-08-07"),
        ("gpt-5-2025-08-07, input", "gpt-5"),
        ("input_tokens", "gpt-5"),
    ],
)
def test_names_of_bills_find_those_of_usage(bench: Bench, line_item: str, model: str) -> None:
    """Fine-tunes, surfaces, stray spaces and names without a date match; a fine-tune's base model does not."""
    found = bench.allocate([cost(line_item, 2)], [used("input", 1, model=model)])
    assert got(found, "model", "basis") == [(model, "priced")]


@pytest.mark.parametrize(
    ("line_item", "model", "canonical"),
    [("dall-e 3, standard, 1024x1024", "dall-e-3", "dall-e-3"), (FINE_TUNE_INPUT, FINE_TUNE, FINE_TUNE_KEY)],
)
def test_a_model_has_one_name_whether_or_not_its_bill_is_spread(
    bench: Bench, line_item: str, model: str, canonical: str
) -> None:
    """Usage's name, where the day has usage; what is paid for goes by the bill's name, on days without usage too."""
    bill = [cost(line_item, 2), cost(line_item, 1, project_id="q"), cost(line_item, 4, date="2026-11-03")]
    usage = [used("input", 1, model=model)]
    names = ("date", "project_id", "model", "reason")
    found = [(str(day)[-1], *more) for day, *more in got(bench.allocate(bill, usage), *names)]
    assert found == [
        ("2", "p", model, None),
        ("2", "q", model, "no_usage"),
        ("3", "p", canonical, "no_usage"),
    ]
    assert got(bench.drivers(bill, usage), "model", "amount") == [(canonical, 2), (canonical, 1), (canonical, 4)]


def test_two_fine_tunes_of_a_base_do_not_lend_their_name(bench: Bench) -> None:
    """Where the day's usage knows several models by the bill's name, what is not spread keeps that name."""
    usage = [used("input", 1, model=model, project_id="q") for model in (FINE_TUNE, f"{FINE_TUNE}d")]
    found = bench.allocate([cost(FINE_TUNE_INPUT, 2)], usage)
    assert got(found, "model", "reason") == [(FINE_TUNE_KEY, "no_usage")]
    assert bench.drivers([cost(FINE_TUNE_INPUT, 2, project_id="q")], usage)[0]["model"] == FINE_TUNE_KEY


def test_a_dated_name_takes_no_other_date(bench: Bench) -> None:
    """A snapshot without usage is a residual, though another snapshot and a fine-tune of the model were used."""
    usage = [used("input", 1, model="gpt-4o-2024-05-13"), used("input", 1, model=FINE_TUNE)]
    assert got(bench.allocate([cost(INPUT, 2)], usage), "reason") == [("no_usage",)]


def test_unpriced_usage_is_spread_by_quantity_and_free_usage_too(bench: Bench) -> None:
    """Of one model and meter, where one use has no price, or none costs anything, quantities decide."""
    for estimates in ((None, 5), (None, None), (0, 0)):
        usage = [
            used("input", estimate, api_key_id=key, quantity=quantity)
            for estimate, key, quantity in zip(estimates, ("k1", "k2"), (30, 10), strict=True)
        ]
        found = bench.allocate([cost(INPUT, 4)], usage)
        assert got(found, "api_key_id", "amount", "basis") == [("k1", 3, "quantity"), ("k2", 1, "quantity")]


def test_prices_in_two_currencies_are_never_added(bench: Bench) -> None:
    """Weights in dollars and euros cannot be compared: quantities decide."""
    usage = [used("input", 9, api_key_id="k1"), used("input", 1, api_key_id="k2", currency="eur")]
    assert got(bench.allocate([cost(INPUT, 2)], usage), "amount", "basis") == [(1, "quantity"), (1, "quantity")]


@pytest.mark.parametrize(
    ("billed", "priced", "rest"),
    [("100.00000000000000000001", "99", "1.00000000000000000001"), ("99", "99", None), ("33", "33", None)],
)
def test_one_use_without_a_price_leaves_the_prices_of_the_others(
    bench: Bench, billed: str, priced: str, rest: str | None
) -> None:
    """What is priced gets its price, or all of the bill where that is less; the rest is unpriced and nobody's."""
    usage = [
        used("input", 66, api_key_id="k1", model="gpt-4o", quantity=600),
        used("output", 33, api_key_id="k2", model="gpt-4o", quantity=400),
        used("input", None, model="mystery", quantity=9_000),
    ]
    share = Decimal(priced) / 3
    expected: list[tuple[Any, ...]] = [
        ("k1", "gpt-4o", share * 2, "priced", None),
        ("k2", "gpt-4o", share, "priced", None),
    ]
    if rest:
        expected.append((None, None, Decimal(rest), None, "unpriced"))
    for sign in (1, -1):
        found = bench.allocate([cost(None, sign * Decimal(billed))], usage)
        assert [(key, model, sign * amount, *more) for key, model, amount, *more in got(
            found, "api_key_id", "model", "amount", "basis", "reason"
        )] == expected  # fmt: skip
    assert abs(sum(row["share"] for row in found) - 1) < Decimal("1e-15")


def test_a_use_priced_in_part_gets_that_part(bench: Bench) -> None:
    """A model's audio without a price takes no part of what its text costs; the same user may be behind the rest."""
    usage = [
        used("input", 3, model="gpt-audio-1", user_id=None, api_key_id=None),
        used("audio input", None, model="gpt-audio-1", user_id=None, api_key_id=None),
    ]
    found = bench.allocate([cost("gpt-audio-1", 5)], usage)
    assert got(found, "model", "amount", "basis", "reason") == [
        ("gpt-audio-1", 2, "billed", "unpriced"),
        ("gpt-audio-1", 3, "priced", None),
    ]


def test_prices_in_another_currency_do_not_say_what_a_part_costs(bench: Bench) -> None:
    """Dollars are no measure of how much of a bill in euros is explained: it stays whole, unless all is priced."""
    usage = [used("input", 1, model="gpt-4o"), used("input", 3, model="gpt-5")]
    bill = [cost(None, 8, currency="eur")]
    assert got(bench.allocate(bill, usage), "model", "amount") == [("gpt-4o", 2), ("gpt-5", 6)]
    assert got(bench.allocate(bill, [*usage, used("input", None, model="mystery")]), "amount", "reason") == [
        (8, "unpriced")
    ]


def test_quantities_of_several_models_or_meters_are_never_compared(bench: Bench) -> None:
    """A thousand tokens of one model are not worth those of another, nor images of tokens; a tool's calls are alike."""
    one, other = used("input", None, model="mystery-1"), used("input", None, model="mystery-2")
    assert got(bench.allocate([cost(None, 2)], [one, other]), "amount", "reason") == [(2, "unpriced")]
    output = used("output", None, model="mystery-1")
    assert got(bench.allocate([cost("mystery-1", 2)], [one, output]), "amount", "reason") == [(2, "unpriced")]
    written = used("cache write", None, model="mystery-1", api_key_id="k2")
    assert got(bench.allocate([cost("mystery-1, input", 2)], [one, written]), "amount", "basis") == [
        (1, "quantity"),
        (1, "quantity"),
    ]
    calls = [used("requests", None, endpoint="web_search_calls", unit="requests", model=name) for name in ("a", "b")]
    assert got(bench.allocate([cost("web search tool calls", 2)], calls), "model", "amount", "basis") == [
        ("a", 1, "quantity"),
        ("b", 1, "quantity"),
    ]


def test_unpriced_usage_of_several_units_is_not_guessed(bench: Bench) -> None:
    """A line without meter over seconds and tokens, unpriced, stays whole and says why."""
    usage = [used("seconds", None, model="whisper-1", unit="seconds"), used("output", None, model="whisper-1")]
    assert got(bench.allocate([cost("whisper-1", 2)], usage), "amount", "reason") == [(2, "unpriced")]


@pytest.mark.parametrize(
    ("line_item", "endpoint", "meter"),
    [
        ("web search tool calls", "web_search_calls", "requests"),
        ("assistants api | file search", "file_search_calls", "requests"),
        ("assistants api | code interpreter", "code_interpreter_sessions", "sessions"),
        ("assistants api | vector store storage", "vector_stores", "storage"),
    ],
)
def test_a_tools_line_is_spread_over_the_tools_usage(bench: Bench, line_item: str, endpoint: str, meter: str) -> None:
    """Tools and storage have usage of their own, and no part in a model's lines."""
    tool = used(meter, None, endpoint=endpoint, unit=meter, api_key_id="tool", quantity=5)
    found = bench.allocate([cost(line_item, 2), cost(INPUT, 1)], [tool, used("input", 1)])
    assert sorted(got(found, "line_item", "api_key_id", "basis")) == sorted(
        [(line_item, "tool", "quantity"), (INPUT, "k", "priced")]
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (cost(INPUT, 1), "no_usage"),
        (cost(INPUT, -1), "credit"),
        (cost("credit adjustment", 1), "credit"),
        (cost("credit adjustment", -1, project_id=None), "credit"),
        (cost("web search tool calls", 1), "tool"),
        (cost("agents | brand new tool", 1), "tool"),
        (cost("assistants api | vector store storage", 1), "storage"),
        (cost("ft-gpt-4o-2024-08-06 training", 1), "training"),
        (cost("Mystery fee", 1), "other"),
        (cost(None, 1), "other"),
        (cost("Mystery fee", 1, project_id=None), "no_project"),
    ],
)
def test_a_residual_says_its_reason(bench: Bench, row: Row, reason: str) -> None:
    """What has no usage is a row of its own, whole, with why."""
    known = cost("gpt-5, input", 1, project_id="known")  # so that the bill does tell lines and projects
    found = [one for one in bench.allocate([row, known]) if one["project_id"] != "known"]
    assert got(found, "amount", "billed_amount", "share", "reason") == [(row["amount"], row["amount"], 1, reason)]


def test_a_bill_without_lines_and_projects_is_spread_over_everything(bench: Bench) -> None:
    """A bill read without grouping is spread over all of the day's usage, where all of it is priced."""
    usage = [used("input", 3, project_id="a"), used("output", 1, project_id="b", api_key_id="k2")]
    found = bench.allocate([cost(None, 8, project_id=None)], usage)
    assert got(found, "project_id", "api_key_id", "amount") == [(None, "k", 6), (None, "k2", 2)]
    assert got(bench.allocate([cost(None, 8, project_id=None)]), "amount", "reason") == [(8, "no_usage")]


def test_a_blank_line_item_is_none(bench: Bench) -> None:
    """A bill whose lines are empty tells no lines: it is spread over everything, and blanks are one row with nulls."""
    bill = [cost(None, 1), cost("", 2), cost(" \t", 4)]
    found = bench.allocate(bill, [used("input", 1, model="gpt-5")])
    assert got(found, "line_item", "amount", "billed_amount", "reason") == [(None, 7, 7, None)]


def test_rows_that_differ_in_source_or_unit_alone_are_one(bench: Bench) -> None:
    """They are summed before they are spread; a quantity of two units is none."""
    bill = [cost(INPUT, 1, api_source=source, quantity=Decimal(1), quantity_unit=source) for source in ("a", "b")]
    found = bench.allocate(bill, [used("input", 1)])
    assert got(found, "amount", "billed_amount", "quantity") == [(2, 2, None)]


def test_a_tools_quantity_counts_without_a_unit(bench: Bench) -> None:
    """Calls and sessions are billed with a bare number: it is kept, but not added to numbers that have a unit."""
    line = "web search tool calls"
    bill = [cost(line, 1, api_source=source, quantity=Decimal(5)) for source in ("a", "b")]
    assert got(bench.allocate(bill), "amount", "quantity", "quantity_unit") == [(2, 10, None)]
    calls = [used("requests", 1, endpoint="web_search_calls", api_key_id=key) for key in ("k1", "k2")]
    assert got(bench.drivers(bill, calls), "api_key_id", "amount", "quantity") == [("k1", 1, 5), ("k2", 1, 5)]
    mixed = [*bill, cost(line, 1, api_source="c", quantity=Decimal(5), quantity_unit="tokens")]
    assert got(bench.allocate(mixed), "amount", "quantity") == [(3, None)]


def test_a_null_amount_is_nothing_billed(bench: Bench) -> None:
    """Rows without an amount (seen live) make no part; a billed zero does."""
    found = bench.allocate([cost(INPUT, None, currency=None), cost(INPUT, 0)], [used("input", 1)])
    assert got(found, "amount", "currency") == [(0, "usd")]


def test_a_quantity_is_given_only_where_it_is_whole(bench: Bench) -> None:
    """Parts of a split row carry no quantity; a row that is one part carries the bill's."""
    bill = [cost(INPUT, 1, quantity=Decimal("10.5"), quantity_unit="tokens")]
    usage = [used("input", 1, api_key_id=key) for key in ("k1", "k2")]
    assert got(bench.allocate(bill, usage), "quantity", "quantity_unit") == [(None, None)] * 2
    assert got(bench.allocate(bill, usage[:1]), "quantity", "quantity_unit") == [(Decimal("10.5"), "tokens")]
