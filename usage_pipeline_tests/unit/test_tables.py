"""Normalization: exact money, summed duplicates, kept unknowns, stable hashes."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import BadPayload
from usage_pipeline.lake.tables import Content, normalize
from usage_pipeline.records import Bucket, NumberLiteral, WindowRead
from usage_pipeline.windows import Window

DAY = date(2026, 11, 3)
WINDOW = Window.of_days(DAY, date(2026, 11, 5))
NOW = datetime(2026, 11, 5, 1, tzinfo=UTC)


def content(
    endpoint: str, *results: dict[str, Any], width: str = "1d", second: tuple[dict[str, Any], ...] = ()
) -> Content:
    """Two days of an endpoint: the first with the results, the second with `second`."""
    row = ENDPOINTS[endpoint]
    starts = list(WINDOW.bucket_starts("1d"))
    buckets = [
        Bucket(start_time=start, end_time=start + 86400, results=[dict(one) for one in found])
        for start, found in zip(starts, (results, second), strict=True)
    ]
    read = WindowRead(
        endpoint=endpoint,
        window=WINDOW,
        bucket_width=width,  # type: ignore[arg-type]
        group_by=row.dimension_names,
        fetched_at=NOW,
        pages=[],
        buckets=buckets,
        requests=1,
    )
    return normalize(row, "default", read)


def cost(value: str | None, **more: Any) -> dict[str, Any]:
    """A cost result with an amount literal."""
    return {"project_id": "proj_1", "amount": {"value": value, "currency": "usd"}, **more}


LITERALS = st.one_of(
    st.decimals(-(10**9), 10**9, allow_nan=False, places=20).map(str),
    st.decimals(-1, 1, allow_nan=False, places=20).map(lambda d: f"{d:E}"),
    st.integers(-(10**12), 10**12).map(str),
    st.sampled_from(["0E-6176", "1.29e-05", "9.888144383403077", "0.000004500000000000000000000000000000000"]),
)


@given(st.lists(LITERALS, min_size=1, max_size=8))
def test_amounts_within_the_scale_are_exact_and_keep_their_literal(literals: list[str]) -> None:
    """Every literal of up to 20 decimals is stored with exactly its value and its own text."""
    found = content("costs", *(cost(text, line_item=f"item {n:02}") for n, text in enumerate(literals)))
    assert found.table["amount"].to_pylist() == [Decimal(text) for text in literals]
    assert found.table["amount_literal"].to_pylist() == literals
    assert found.drift == ()


@given(st.lists(LITERALS, min_size=2, max_size=6), st.randoms())
def test_duplicate_group_keys_are_summed_exactly_in_any_order(literals: list[str], random: Any) -> None:
    """Rows with one group key become one row whose amount is the exact sum, the same for every order."""
    shuffled = random.sample(literals, len(literals))
    one, other = content("costs", *map(cost, literals)), content("costs", *map(cost, shuffled))
    assert [Fraction(amount) for amount in one.table["amount"].to_pylist()] == [
        sum(map(Fraction, map(Decimal, literals)))
    ]
    assert Fraction(one.table["amount_literal"][0].as_py()) == sum(map(Fraction, map(Decimal, literals)))
    assert one.days == other.days


def test_digits_beyond_the_scale_are_rounded_half_even_and_reported() -> None:
    """More than 20 decimals round half-even, the literal stays whole, and drift says so."""
    found = content("costs", cost("0.000000000000000000005"), cost("0.000000000000000000015", line_item="b"))
    assert sorted(found.table["amount"].to_pylist()) == [Decimal(0), Decimal("0.00000000000000000002")]
    assert sorted(found.table["amount_literal"].to_pylist()) == ["0.000000000000000000005", "0.000000000000000000015"]
    assert found.drift == ("costs.amount: more than 20 decimals, rounded half-even; literal kept",)


@pytest.mark.parametrize("value", ["1000000000000000000", "1e30", "-1e18"])
def test_an_amount_no_column_can_hold_is_refused(value: str) -> None:
    """An amount of 10^18 and more is refused whole, not wrapped or cut."""
    with pytest.raises(BadPayload, match=r"costs\.amount"):
        content("costs", cost(value))


def test_a_sum_of_counts_beyond_64_bits_is_refused() -> None:
    """Duplicates whose sum does not fit are refused, not wrapped."""
    big = {"project_id": "p", "num_sessions": 2**62}
    with pytest.raises(BadPayload, match="does not fit 64 bits"):
        content("code_interpreter_sessions", big, big)


def test_currencies_and_quantity_units_are_never_added_together() -> None:
    """Rows equal but for currency or unit stay rows of their own."""
    usd, eur = cost("1.5"), {**cost("2.5"), "amount": {"value": "2.5", "currency": "eur"}}
    hours = cost("1.5", quantity="2", quantity_unit="gibibyte_hours")
    found = content("costs", usd, eur, hours)
    assert sorted(map(str, found.table["amount"].to_pylist())) == [
        f"{n}0000000000000000000" for n in ("1.5", "1.5", "2.5")
    ]


def test_a_null_amount_and_a_zero_amount_differ() -> None:
    """An absent amount is null in the table, a zero one is zero."""
    found = content("costs", {"project_id": "a", "amount": None}, cost("0E-6176", line_item="z"))
    assert sorted(found.table["amount"].to_pylist(), key=str) == [Decimal("0E-20"), None]


def test_null_measures_add_like_nothing() -> None:
    """In a sum of duplicates null gives way to a number, and null with null stays null."""
    base = {"object": "x", "model": "m", "input_tokens": 1, "output_tokens": 1, "num_model_requests": 1}
    found = content("completions", {**base, "input_audio_tokens": None}, {**base, "input_audio_tokens": 4}, base)
    assert found.table.select(["input_tokens", "input_audio_tokens", "input_image_tokens"]).to_pylist() == [
        {"input_tokens": 3, "input_audio_tokens": 4, "input_image_tokens": None}
    ]


def test_absent_and_null_dimensions_are_the_same_group() -> None:
    """A dimension that is missing and one that is null name one group."""
    found = content(
        "moderations",
        {"input_tokens": 1, "num_model_requests": 1, "model": None},
        {"input_tokens": 2, "num_model_requests": 1},
    )
    assert found.table["input_tokens"].to_pylist() == [3]


def test_unknown_fields_are_kept_and_reported() -> None:
    """A field the table does not know lands in extras as written, and drift names it."""
    extra = {"new_thing": {"b": NumberLiteral(text="1.50"), "a": [1, "é😀"]}, "ratio": NumberLiteral(text="0.1")}
    found = content("vector_stores", {"project_id": "p", "usage_bytes": 5, **extra})
    assert json.loads(found.table["extras"][0].as_py()) == {"new_thing": {"a": [1, "é😀"], "b": "1.50"}, "ratio": 0.1}
    assert set(found.drift) == {f"vector_stores: unknown field {name!r}, kept in extras" for name in extra}


def test_undocumented_cost_fields_seen_live_are_kept_without_a_warning() -> None:
    """project_name and its like are undocumented but known: extras hold them, drift does not."""
    found = content("costs", cost("1", project_name="Default project", organization_id="org-x"))
    assert json.loads(found.table["extras"][0].as_py()) == {
        "organization_id": "org-x",
        "project_name": "Default project",
    }
    assert found.drift == ()


def test_a_new_enum_value_passes_and_is_reported() -> None:
    """A value the API never listed is stored as text and noted."""
    found = content("images", {"images": 1, "num_model_requests": 1, "size": "4096x4096"})
    assert found.table["size"].to_pylist() == ["4096x4096"]
    assert found.drift == ("images.size: new value '4096x4096'",)


@given(st.text(max_size=60).filter(lambda text: text.isprintable() or "\n" in text))
def test_names_of_any_script_come_back_byte_for_byte(name: str) -> None:
    """Text of any kind, quotes and semicolons among it, is stored as it came."""
    found = content("vector_stores", {"project_id": name, "usage_bytes": 1})
    assert found.table["project_id"].to_pylist() == [name]


def test_an_empty_day_is_known_and_has_its_own_hash() -> None:
    """A day without rows is content too, and differs from a day with rows."""
    found = content("vector_stores", {"project_id": "p", "usage_bytes": 1})
    assert [found.days[day].rows for day in sorted(found.days)] == [1, 0]
    assert len({day.content_hash for day in found.days.values()}) == 2


@given(st.permutations([("a", 1), ("b", 2), (None, 3), ("ü", 4)]))
def test_the_order_of_results_changes_no_hash(order: list[tuple[str | None, int]]) -> None:
    """The service may list groups in any order: the content hash is the same."""
    found = content("vector_stores", *({"project_id": p, "usage_bytes": n} for p, n in order))
    straight = content(
        "vector_stores", *({"project_id": p, "usage_bytes": n} for p, n in sorted(order, key=lambda o: o[1]))
    )
    assert found.days == straight.days


def test_null_and_zero_and_swapped_values_hash_differently() -> None:
    """The hash tells null from zero, one column from another, and one key from the next."""
    base = {"object": "x", "model": "m", "input_tokens": 1, "output_tokens": 2, "num_model_requests": 1}
    variants = [
        base,
        {**base, "input_audio_tokens": 0},
        {**base, "input_image_tokens": 0},
        {**base, "input_tokens": 2, "output_tokens": 1},
        {**base, "model": None},
        {**base, "model": ""},
    ]
    assert len({content("completions", one).days[DAY].content_hash for one in variants}) == len(variants)
