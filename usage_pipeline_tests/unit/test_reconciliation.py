"""Priced usage against the bill: what matches exactly says so, and what does not says by how much."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from usage_pipeline_tests.billed import Bench, Row, cost, open_bench, used

INPUT, OUTPUT = "gpt-4o-2024-08-06, input", "gpt-4o-2024-08-06, output"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One engine for all tests; each question fills its tables anew."""
    with open_bench() as found:
        yield found


def only(rows: list[Row]) -> Row:
    """The one row there is."""
    (row,) = rows
    return row


def test_a_bill_at_list_price_is_exact(bench: Bench) -> None:
    """Equal to the last digit: no delta, ratio one, all of it explained."""
    bill = [cost(INPUT, "0.1"), cost(OUTPUT, "0.20000000000000000001")]
    row = only(bench.reconcile(bill, [used("input", "0.1"), used("output", "0.20000000000000000001")]))
    names = ("project_id", "model_family", "currency", "delta", "ratio", "explained_share", "is_exact")
    assert tuple(row[name] for name in names) == ("p", "gpt-4o", "usd", 0, 1, 1, True)


def test_one_last_digit_is_not_exact(bench: Bench) -> None:
    """A bill off by the smallest amount is told from one that is not."""
    row = only(bench.reconcile([cost(INPUT, "1.00000000000000000001")], [used("input", 1)]))
    assert (row["delta"], row["ratio"], row["is_exact"]) == (Decimal(1).scaleb(-20), 1, False)


def test_a_discount_shows_as_ratio(bench: Bench) -> None:
    """Billed half the estimate: ratio 0.5; a third is cut after nine places, not rounded by a float."""
    for billed, ratio in (("1.5", "0.5"), (1, "0.333333333"), (-3, "-1")):
        row = only(bench.reconcile([cost(INPUT, billed)], [used("input", 3)]))
        assert (row["billed"], row["estimated"], row["ratio"]) == (Decimal(billed), 3, Decimal(ratio))


@pytest.mark.parametrize(
    ("billed", "estimated", "explained", "share"),
    [
        (4, 1, 1, "0.25"),  # three of four have no usage behind them
        (1, 4, 1, "1"),  # usage explains all of it, and would explain more
        (-3, 3, 0, "0"),  # a credit is not explained by use
        (0, 3, 0, None),
    ],
)
def test_what_is_explained_is_no_more_than_the_estimate(
    bench: Bench, billed: int, estimated: int, explained: int, share: str | None
) -> None:
    """That a bill could be spread by price does not say that its usage should cost that much."""
    row = only(bench.reconcile([cost(INPUT, billed)], [used("input", estimated)]))
    assert (row["explained"], row["explained_share"]) == (explained, share and Decimal(share))


def test_what_another_key_used_explains_nothing(bench: Bench) -> None:
    """Only the part of the bill that was spread over usage can be explained by it."""
    bill = [cost(INPUT, 1, api_key_id="k"), cost(INPUT, 3, api_key_id="gone")]
    row = only(bench.reconcile(bill, [used("input", 4)]))
    assert (row["billed"], row["estimated"], row["explained"], row["explained_share"]) == (4, 4, 1, Decimal("0.25"))


def test_what_stands_in_for_a_price_is_told(bench: Bench) -> None:
    """Another tier's price and a less special meter's make an estimate uncertain; a tool's own price does not."""
    usage = [
        used("input", 1, service_tier="flex", price_basis="tier_assumed", price_meter="input"),
        used("cached input", 2, price_meter="input"),
        used("output", 4, price_meter="output"),
        used("requests", 8, endpoint="web_search_calls", price_meter="web search calls"),
    ]
    bill = [cost(INPUT, 1), cost("web search tool calls", 8)]
    found = {row["model_family"]: (row["estimated"], row["assumed"]) for row in bench.reconcile(bill, usage)}
    assert found == {"gpt-4o": (7, 3), "web_search_calls": (8, 0)}


def test_what_has_no_estimate_is_not_comparable(bench: Bench) -> None:
    """Credits, fees, trainings, tools and stores without a price, and models without one; a model without usage is."""
    bill = [
        cost(INPUT, 1),
        cost("credit adjustment", -2),
        cost("ft-gpt-4o-2024-08-06 training", 3),
        cost("assistants api | vector store storage", 4),
        cost("web search tool calls", 5),
        cost("assistants api | file search", 6),
        cost("gpt-image-1", 7),
        cost("gpt-5, input", 8),
    ]
    usage = [
        used("input", 1),
        used("storage", None, endpoint="vector_stores", model=None),
        used("requests", 5, endpoint="web_search_calls"),
        used("images", None, endpoint="images", model="gpt-image-1"),
    ]
    found = {row["model_family"]: row["is_comparable"] for row in bench.reconcile(bill, usage)}
    assert found == {
        "gpt-4o": True,
        "gpt-5": True,
        "web_search_calls": True,
        "vector_stores": False,
        "file_search_calls": False,
        "gpt-image-1": False,
        None: False,
    }


def test_dates_and_fine_tunes_are_one_family_and_tools_their_own(bench: Bench) -> None:
    """A family has all its snapshots and fine-tunes; a tool's calls are compared under its endpoint's name."""
    bill = [cost(INPUT, 1), cost("ft-gpt-4o-2024-08-06, input", 2), cost("web search tool calls", 4), cost("Fee", 8)]
    usage = [
        used("input", 1),
        used("input", 2, model="ft:gpt-4o-2024-08-06:acme::abc"),
        used("requests", 4, endpoint="web_search_calls"),
    ]
    found = {row["model_family"]: row for row in bench.reconcile(bill, usage)}
    assert {family: row["is_exact"] for family, row in found.items()} == {
        "gpt-4o": True,
        "web_search_calls": True,
        None: False,
    }
    assert (found[None]["billed"], found[None]["estimated"], found[None]["explained_share"]) == (8, None, 0)


def test_usage_without_a_bill_and_a_bill_without_usage_are_rows(bench: Bench) -> None:
    """Each side stands alone where the other has nothing: null, not zero."""
    found = bench.reconcile([cost(INPUT, 1)], [used("input", 2, project_id="q")])
    names = ("project_id", "billed", "estimated", "delta", "ratio", "explained_share", "is_exact")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("p", 1, None, 1, None, 0, False),
        ("q", None, 2, -2, None, None, False),
    ]


def test_unpriced_usage_is_told_and_never_exact(bench: Bench) -> None:
    """A missing price leaves the estimate short: it says so, in the bill's currency."""
    row = only(bench.reconcile([cost(INPUT, 1)], [used("input", 1), used("input", None, api_key_id="k2")]))
    names = ("currency", "estimated", "delta", "explained_share", "has_unpriced", "is_exact")
    assert tuple(row[name] for name in names) == ("usd", 1, 0, 0, True, False)


def test_a_bill_without_lines_is_compared_whole(bench: Bench) -> None:
    """Where the day's bill tells neither projects nor models, all of the day's usage is on the other side."""
    usage = [used("input", 1, project_id="a"), used("output", 2, project_id="b", model="gpt-5")]
    row = only(bench.reconcile([cost(None, 3, project_id=None)], usage))
    assert (row["project_id"], row["model_family"], row["is_exact"]) == (None, None, True)


def test_currencies_are_compared_apart(bench: Bench) -> None:
    """A bill in euros has nothing to do with prices in dollars."""
    found = bench.reconcile([cost(INPUT, 1, currency="eur")], [used("input", 1)])
    assert {row["currency"]: (row["billed"], row["estimated"]) for row in found} == {"eur": (1, None), "usd": (None, 1)}


def test_ratios_hold_at_the_ends_of_money(bench: Bench) -> None:
    """From the last digit to a million million: no overflow, null where a ratio is beyond its column."""
    least, most = Decimal(1).scaleb(-20), Decimal(10) ** 17
    for billed, estimated, ratio, share in (
        (most, most, 1, 1),
        (least, least, 1, 1),
        (least, most, 0, 1),
        (most, least, None, 0),
    ):
        row = only(bench.reconcile([cost(INPUT, billed)], [used("input", estimated)]))
        assert (row["ratio"], row["explained_share"]) == (ratio, share)
