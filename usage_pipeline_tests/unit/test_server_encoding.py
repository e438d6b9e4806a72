"""How answers are written: exact money in the forms seen live, and the shape of pages."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline.api.encoding import money_literal, number_literal, page_text
from usage_pipeline.endpoints import ENDPOINTS, Endpoint

AS_NUMBER, AS_STRING = 0, 1  # seeds that pick a form
DAY = 86400
amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=20)


def value_of(literal: str) -> Decimal:
    """What a JSON literal denotes, number or string."""
    return Decimal(json.loads(literal, parse_float=str))


@given(amount=amounts, seed=st.integers(min_value=0, max_value=2**32 - 1))
def test_every_form_denotes_the_very_amount(amount: Decimal, seed: int) -> None:
    """Whatever form an amount takes, reading the literal gives it back to the last digit."""
    assert value_of(money_literal(amount, seed)) == amount


@given(value=amounts)
def test_numbers_look_like_printed_floats(value: Decimal) -> None:
    """A number literal always has a fraction or an exponent, as a float prints."""
    literal = number_literal(value)
    assert set(literal) & set(".e")
    assert Decimal(literal) == value


@pytest.mark.parametrize(
    ("amount", "seed", "literal"),
    [
        ("9.888144383403077", AS_NUMBER, "9.888144383403077"),
        ("0.12744000", AS_NUMBER, "0.12744"),
        ("0.0000129", AS_NUMBER, "1.29e-05"),
        ("0.000003", AS_NUMBER, "3e-06"),
        ("-0.00001", AS_NUMBER, "-1e-05"),
        ("-250", AS_NUMBER, "-250.0"),
        ("0E-16", AS_NUMBER, "0.0"),
        ("0", AS_STRING, '"0E-6176"'),
        ("0.0000045", AS_STRING, '"0.000004500000000000000000000000000000000"'),
        ("0.0036275", AS_STRING, '"0.003627500000000000000000000000000000"'),
        ("0.007605", AS_STRING, '"0.007605000000000000000000000000000000"'),
        ("123456789012.345678", AS_NUMBER, '"123456789012.3456780000000000000000"'),
    ],
)
def test_captured_forms(amount: str, seed: int, literal: str) -> None:
    """Literals captured from the real service come out to the letter; too long for a float, it is a string."""
    assert money_literal(Decimal(amount), seed) == literal


def test_more_digits_than_a_decimal128_are_kept() -> None:
    """An amount longer than 34 digits is written in full, never rounded."""
    long = "1." + "123456789" * 4
    assert money_literal(Decimal(long), AS_STRING) == f'"{long}"'


def page(endpoint: Endpoint, rows: list[dict[str, Any]], next_page: str | None = None) -> dict[str, Any]:
    """The page of one full and one quiet bucket."""
    return json.loads(page_text(endpoint, [(0, DAY), (DAY, 2 * DAY)], [rows, []], next_page))


def test_envelope() -> None:
    """The cursor and has_more agree; a quiet bucket has empty results."""
    assert page(ENDPOINTS["embeddings"], []) == {
        "object": "page",
        "has_more": False,
        "next_page": None,
        "data": [
            {"object": "bucket", "start_time": 0, "end_time": DAY, "results": []},
            {"object": "bucket", "start_time": DAY, "end_time": 2 * DAY, "results": []},
        ],
    }
    assert page(ENDPOINTS["embeddings"], [], "page_x")["has_more"] is True


def test_dimensions_are_null_unless_grouped_and_absent_measures_stay_absent() -> None:
    """A row says null for every dimension it was not grouped by, and nothing for a measure the source left out."""
    (row,) = page(ENDPOINTS["completions"], [{"model": "m", "input_tokens": 1, "input_audio_tokens": None}])["data"][0][
        "results"
    ]
    assert row.pop("object") == "organization.usage.completions.result"
    assert (row.pop("model"), row.pop("input_tokens"), row.pop("input_audio_tokens")) == ("m", 1, None)
    assert row == dict.fromkeys(set(ENDPOINTS["completions"].dimension_names) - {"model"})


def test_cost_rows_nest_the_currency_and_keep_extras() -> None:
    """The amount is an object with its currency; units and undocumented fields stand beside it."""
    source = {"amount": Decimal("0.5"), "currency": "usd", "quantity": Decimal(3), "quantity_unit": "tokens"}
    (row,) = page(ENDPOINTS["costs"], [source | {"project_name": 'A "b" é'}])["data"][0]["results"]
    assert Decimal(row["amount"].pop("value")) == Decimal("0.5")
    assert row["amount"] == {"currency": "usd"}
    assert (row["quantity"], row["quantity_unit"], row["project_name"]) == (3.0, "tokens", 'A "b" é')
    assert "currency" not in row


def test_missing_amounts_are_null() -> None:
    """A row without an amount or quantity says null for them."""
    (row,) = page(ENDPOINTS["costs"], [{"amount": None, "quantity": None}])["data"][0]["results"]
    assert row["amount"] is row["quantity"] is None


def test_cost_buckets_carry_iso_times_of_uneven_form() -> None:
    """As captured: buckets of costs also write their bounds out, with an offset on quiet ones only."""
    full, quiet = page(ENDPOINTS["costs"], [{"amount": Decimal(1)}])["data"]
    assert (full["start_time_iso"], full["end_time_iso"]) == ("1970-01-01T00:00:00", "1970-01-02T00:00:00")
    assert quiet["start_time_iso"] == "1970-01-02T00:00:00+00:00"
