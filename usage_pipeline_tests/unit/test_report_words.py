"""How the report words amounts, shares, days and names, and how it cuts a bill into series."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline.report import words
from usage_pipeline.report.stacks import MOST_SERIES, OTHER, stack

DAYS = [date(2026, 11, 1) + timedelta(days=n) for n in range(3)]
AMOUNTS = st.decimals(min_value=-(10**6), max_value=10**6, places=9)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (words.money(Decimal("1234.5"), "usd"), "$1,234.50"),
        (words.money(Decimal("-3"), "usd"), "-$3.00"),
        (words.money(Decimal("-0.001"), "usd"), "$0.00"),
        (words.money(Decimal(7), "eur"), "7.00 EUR"),
        (words.change(Decimal(7), "usd"), "+$7.00"),
        (words.exact(Decimal("1.2300")), "1.23"),
        (words.exact(Decimal("1E-20")), "0.00000000000000000001"),
        (words.percent(Decimal("0.0123")), "1.2 %"),
        (words.percent(Decimal("-0.25"), sign=True), "-25 %"),
        (words.number(1_234), "1,234"),
        (words.number(1_234_567), "1.2 M"),
        (words.days(DAYS[0], DAYS[0]), "1 Nov 2026"),
        (words.days(DAYS[0], DAYS[2]), "1 to 3 Nov 2026"),
        (words.days(date(2026, 10, 31), DAYS[2]), "31 Oct to 3 Nov 2026"),
        (words.days(date(2025, 12, 31), DAYS[2]), "31 Dec 2025 to 3 Nov 2026"),
        (words.counted(1, "day"), "1 day"),
        (words.counted(1200, "day"), "1,200 days"),
        (words.shown("\u202egnp.exe\x1b[31m"), "\\u202egnp.exe\\x1b[31m"),
        (words.shown("W" * 500), "W" * 89 + "…"),
    ],
)
def test_values_are_worded_for_people(told: str, says: str) -> None:
    """Amounts to the cent with their currency, shares and counts short, days as briefly as they can be."""
    assert told == says


@pytest.mark.parametrize(
    ("minutes", "says"),
    [(-5, "just now"), (1, "just now"), (59, "59 minutes ago"), (60, "1 hour ago"), (2879, "47 hours ago")],
)
def test_how_long_ago(minutes: int, says: str) -> None:
    """Minutes, hours, then days; a clock that runs ahead is no news from the future."""
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert words.ago(now - timedelta(minutes=minutes), now) == says
    assert words.ago(now - timedelta(days=3), now) == "3 days ago"


@given(st.lists(st.tuples(st.sampled_from(DAYS), st.integers(0, 30).map(lambda n: (f"p{n}",)), AMOUNTS)))
def test_a_cut_adds_up_whatever_is_in_it(rows: list[tuple[date, tuple[str | None, ...], Decimal]]) -> None:
    """Series, days and cells have one sum; no more series than colours, the smallest together in the last."""
    cut = stack(rows, DAYS, lambda key: (str(key[0]), False))
    whole = sum((amount for _, _, amount in rows), Decimal(0))
    assert sum((one.total for one in cut.series), Decimal(0)) == sum(cut.amounts.values(), Decimal(0)) == whole
    assert cut.total == whole
    assert list(cut.days) == DAYS
    names = {key for _, key, _ in rows}
    assert len(cut.series) == min(len(names), MOST_SERIES + 1)
    assert [one.id == OTHER for one in cut.series].count(True) == (len(names) > MOST_SERIES)
    kept = [abs(one.total) for one in cut.series if one.id != OTHER]
    assert kept == sorted(kept, reverse=True)
