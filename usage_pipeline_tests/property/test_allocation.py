"""Whatever the bill and the usage: the parts of each billed row add up to it, by the rule of largest remainders."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_pipeline_tests.billed import Bench, Row, cost, open_bench, used

_DIGIT = Decimal(1).scaleb(-20)
_INPUT = "gpt-4o-2024-08-06, input"
_LINES = (
    None,
    _INPUT,
    "gpt-4o-2024-08-06, output",
    "evals | gpt-4o, input",
    "whisper-1",
    "web search tool calls",
    "assistants api | vector store storage",
    "credit adjustment",
    "ft-gpt-4o-2024-08-06 training",
    "no such thing, at all",
)
_BILL_KEY = ("project_id", "line_item", "billed_api_key_id", "billed_user_id", "currency")
_GRAIN = (*_BILL_KEY, "user_id", "api_key_id", "model", "batch", "service_tier", "reason")

# One query costs about 80 ms, so that an example holds many cases.
_SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_digits = st.one_of(st.integers(-3, 3), st.integers(-(10**9), 10**9), st.integers(-(10**32), 10**32))
_weights = st.one_of(st.none(), st.integers(0, 5), st.integers(0, 10**25), st.integers(0, 10**32))


def money(digits: int) -> Decimal:
    """A number of last digits as an amount, exactly."""
    with localcontext(prec=60):
        return digits * _DIGIT


def digits_of(amount: Decimal) -> int:
    """The reverse."""
    with localcontext(prec=60):
        return int(amount / _DIGIT)


@st.composite
def bills(draw: st.DrawFn) -> Row:
    """A billed row, its key and user given or not."""
    return cost(
        draw(st.sampled_from(_LINES)),
        money(draw(_digits)),
        project_id=draw(st.sampled_from(["p", "q", None])),
        api_key_id=draw(st.sampled_from(["k1", "k2", None])),
        user_id=draw(st.sampled_from(["u1", None])),
        currency=draw(st.sampled_from(["usd", "eur"])),
        api_source=draw(st.sampled_from(["unlabeled", None])),
        quantity=draw(st.sampled_from([None, Decimal(3)])),
        quantity_unit=draw(st.sampled_from([None, "tokens"])),
    )


@st.composite
def uses(draw: st.DrawFn) -> Row:
    """A usage row, priced or not."""
    endpoint, model, meter, unit = draw(
        st.sampled_from(
            [
                ("completions", "gpt-4o-2024-08-06", "input", "tokens"),
                ("completions", "gpt-4o-2024-08-06", "image input", "tokens"),
                ("completions", "gpt-4o-2024-08-06", "output", "tokens"),
                ("decisions", "gpt-4o-2024-08-06", "input", "tokens"),
                ("audio_transcriptions", "whisper-1", "seconds", "seconds"),
                ("web_search_calls", "gpt-4o-2024-08-06", "requests", "requests"),
                ("vector_stores", None, "storage", "byte_days"),
            ]
        )
    )
    weight = draw(_weights)
    return used(
        meter,
        None if weight is None else money(weight),
        endpoint=endpoint,
        model=model,
        unit=unit,
        quantity=draw(st.integers(0, 2**62)),
        project_id=draw(st.sampled_from(["p", "q"])),
        api_key_id=draw(st.sampled_from(["k1", "k2", "k3", None])),
        user_id=draw(st.sampled_from(["u1", "u2", None])),
        batch=draw(st.sampled_from([True, None])),
        service_tier=draw(st.sampled_from(["flex", "default"])),
    )


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One engine for all examples; each fills its tables anew."""
    with open_bench() as found:
        yield found


def spread(bench: Bench, cases: Sequence[tuple[int, Sequence[int]]]) -> list[dict[int, int]]:
    """Spread amounts over weights, all in last digits: of each case the parts by the number of their weight."""
    bill = [cost(_INPUT, money(digits), project_id=f"{case}") for case, (digits, _) in enumerate(cases)]
    usage = [
        used("input", money(weight), project_id=f"{case}", api_key_id=f"{number:02}")
        for case, (_, weights) in enumerate(cases)
        for number, weight in enumerate(weights)
    ]
    parts: list[dict[int, int]] = [{} for _ in cases]
    for row in bench.allocate(bill, usage):
        parts[int(row["project_id"])][int(row["api_key_id"])] = digits_of(row["amount"])
    return parts


def total(rows: Sequence[Row], key: Sequence[str]) -> dict[tuple[Any, ...], Decimal]:
    """Exact sums of the amounts by key."""
    sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    with localcontext(prec=60):
        for row in rows:
            sums[tuple(row[name] for name in key)] += row["amount"]
    return dict(sums)


def grain(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The grain of every row."""
    return [tuple(row[name] for name in _GRAIN) for row in rows]


@pytest.mark.slow
@_SOME
@given(bill=st.lists(bills(), max_size=20), usage=st.lists(uses(), max_size=30), seed=st.randoms(use_true_random=False))
def test_parts_add_up_to_every_billed_row(bench: Bench, bill: list[Row], usage: list[Row], seed: Any) -> None:
    """Equal to the last digit, no part of another sign, key or user, the grain is unique, and order does not matter."""
    found = bench.allocate(bill, usage)
    given = [row | {"billed_api_key_id": row["api_key_id"], "billed_user_id": row["user_id"]} for row in bill]
    assert total(found, _BILL_KEY) == total(given, _BILL_KEY)
    assert len(set(grain(found))) == len(found)
    for row in found:
        assert row["amount"] == 0 or (row["amount"] > 0) == (row["billed_amount"] > 0)
        assert (row["reason"] is None) == (row["basis"] in {"priced", "quantity"})
        assert row["billed_api_key_id"] in {None, row["api_key_id"]}
        assert row["billed_user_id"] in {None, row["user_id"]}
        # Where the bill tells keys, a part has the billed one, none included; likewise for users.
        for name in ("api_key_id", "user_id"):
            assert row[name] == row[f"billed_{name}"] or not any(one[name] for one in bill)
    shuffled_bill, shuffled_usage = list(bill), list(usage)
    seed.shuffle(shuffled_bill)
    seed.shuffle(shuffled_usage)
    assert bench.allocate(shuffled_bill, shuffled_usage) == found


@_SOME
@given(cases=st.lists(st.tuples(_digits, st.lists(st.integers(1, 10**17), min_size=1, max_size=12)), max_size=12))
def test_rounding_is_that_of_largest_remainders(bench: Bench, cases: list[tuple[int, list[int]]]) -> None:
    """Each part is its exact share rounded down or up by one last digit; the largest remainders go up, ties by key."""
    found = spread(bench, cases)
    for parts, (digits, weights) in zip(found, cases, strict=True):
        ideal = [Fraction(abs(digits) * weight, sum(weights)) for weight in weights]
        floors = [int(share) for share in ideal]
        left = abs(digits) - sum(floors)
        first = sorted(range(len(weights)), key=lambda n: (floors[n] - ideal[n], n))[:left]
        sign = -1 if digits < 0 else 1
        assert parts == {n: sign * (floors[n] + (n in first)) for n in range(len(weights))}


@_SOME
@given(
    cases=st.lists(
        st.tuples(st.integers(1, 10**38 - 1), st.lists(st.integers(1, 10**36), min_size=1, max_size=12)), max_size=12
    )
)
def test_the_largest_numbers_neither_overflow_nor_stray(bench: Bench, cases: list[tuple[int, list[int]]]) -> None:
    """At the ends of DECIMAL(38, 20) sums stay exact, and no part is off its share by a billionth of a billionth."""
    for parts, (digits, weights) in zip(spread(bench, cases), cases, strict=True):
        assert sum(parts.values()) == digits
        for number, weight in enumerate(weights):
            ideal = Fraction(digits * weight, sum(weights))
            assert abs(parts.get(number, 0) - ideal) <= 1 + Fraction(digits * len(weights), 10**18)


@_SOME
@given(cases=st.lists(st.tuples(_digits, st.lists(_weights, min_size=2, max_size=8)), max_size=12))
def test_what_is_priced_gets_its_price_and_no_more(bench: Bench, cases: list[tuple[int, list[int | None]]]) -> None:
    """Among models without prices the priced ones get exactly what they should cost, or, of a smaller bill, all."""
    bill = [cost(None, money(digits), project_id=f"{case}") for case, (digits, _) in enumerate(cases)]
    usage = [
        used("input", None if weight is None else money(weight), project_id=f"{case}", model=f"{number}")
        for case, (_, weights) in enumerate(cases)
        for number, weight in enumerate(weights)
    ]
    parts: list[dict[str | None, int]] = [{} for _ in cases]
    for row in bench.allocate(bill, usage):
        assert (row["reason"] == "unpriced") == (row["model"] is None)
        parts[int(row["project_id"])][row["model"]] = abs(digits_of(row["amount"]))
    for found, (digits, weights) in zip(parts, cases, strict=True):
        prices = {f"{number}": weight for number, weight in enumerate(weights) if weight}
        estimate = sum(prices.values())
        assert sum(found.values()) == abs(digits)
        if not prices:
            assert found == {None: abs(digits)}
        elif None in weights and estimate < abs(digits):
            assert found == {**prices, None: abs(digits) - estimate}
        else:
            assert set(found) <= set(prices)
