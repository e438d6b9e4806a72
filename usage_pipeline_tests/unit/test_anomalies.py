"""Anomalies: what stands out is flagged with its drivers; ordinary, short and tiny histories are left alone."""

import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline_tests.daily_bills import Bills, days
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("anomalies")

START, TODAY = date(2026, 9, 14), date(2026, 11, 20)
LAST = TODAY - timedelta(days=1)
WEEKEND = 5
_FOUND = (
    "select dimension, key, direction, is_order_of_magnitude, drivers from marts.anomalies where date = $day order by 1"
)


def _usual(day: date, rng: random.Random) -> Decimal:
    """50 on a working day, 8 at the weekend, give or take a tenth."""
    return (Decimal(8 if day.weekday() >= WEEKEND else 50) * Decimal(rng.uniform(0.9, 1.1))).quantize(Decimal("0.01"))


@pytest.fixture
def bills(data_dir: Path) -> Bills:
    """Nine weeks of working days and weekends of two line items."""
    found, rng = Bills(data_dir, TODAY), random.Random(5)
    for day in days(START, LAST):
        found.bill(day, _usual(day, rng), quantity=1)
        found.bill(day, "3.00", line_item="web search tool calls")
    return found


def _anomalies(bills: Bills, day: date = LAST) -> list[tuple[Any, ...]]:
    bills.sync(START, TODAY)
    return rows(bills.settings, _FOUND, {"day": day})


def test_an_ordinary_quarter_has_none(bills: Bills) -> None:
    """Weekends, Mondays and noise of a tenth are as usual, on every day."""
    bills.bill(LAST, "52", quantity=1)
    bills.bill(LAST, "3", line_item="web search tool calls")
    assert _anomalies(bills) == []
    assert rows(bills.settings, "select count(*) from marts.anomalies") == [(0,)]


def test_a_working_days_bill_on_a_sunday_stands_out(bills: Bills) -> None:
    """What is usual on a Wednesday is an anomaly on a Sunday: history is by weekday."""
    sunday = date(2026, 11, 15)
    bills.clear(sunday)
    bills.bill(sunday, "50", quantity=1)
    bills.bill(LAST, "52", quantity=1)
    assert [row[:3] for row in _anomalies(bills, sunday)] == [
        ("model", "gpt-5", "up"),
        ("project", "p", "up"),
        ("total", None, "up"),
    ]


def test_a_spike_names_what_is_behind_it(bills: Bills) -> None:
    """Thrice the bill is flagged up, in all, per project and model, with the line item and its amount first."""
    bills.bill(LAST, "150", quantity=1)
    bills.bill(LAST, "3", line_item="web search tool calls")
    found = {row[0]: row for row in _anomalies(bills)}
    assert set(found) == {"total", "project", "model"}
    assert found["total"][2:4] == ("up", False)
    assert found["total"][4].startswith("gpt-5, output +1")
    assert found["model"][4].startswith("p +1")


def test_a_drop_to_nothing_is_flagged_down(bills: Bills) -> None:
    """A closed day without any bill, where there always was one."""
    assert [row[:4] for row in _anomalies(bills)] == [
        ("model", "gpt-5", "down", True),
        ("project", "p", "down", True),
        ("total", None, "down", True),
    ]


def test_a_changed_unit_is_an_order_of_magnitude(bills: Bills) -> None:
    """Cents where dollars were (G08): a hundredfold total is flagged as such."""
    bills.bill(LAST, "5200", quantity=1)
    assert ("total", None, "up", True) in [row[:4] for row in _anomalies(bills)]


def test_short_history_raises_no_alarm(data_dir: Path) -> None:
    """Ten days tell nothing of what is usual."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(LAST - timedelta(days=10), LAST, 5)
    bills.bill(LAST, 500)
    assert _anomalies(bills) == []


def test_tiny_amounts_raise_no_alarm(data_dir: Path) -> None:
    """Sixty times a cent is still below the floor of 1.00."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(START, LAST, "0.01")
    bills.bill(LAST, "0.60")
    assert _anomalies(bills) == []


def test_a_constant_bill_allows_some_change(data_dir: Path) -> None:
    """A bill that never moved has no spread of its own: a third more is no alarm, thrice is."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(START, LAST, 30)
    bills.bill(LAST, 40)
    assert _anomalies(bills) == []
    bills.bill(LAST, 50)
    assert [row[0] for row in _anomalies(bills)] == ["model", "project", "total"]


@pytest.mark.parametrize("low", ["2.61", "2.610000000000000001"])
def test_what_is_expected_is_exact(data_dir: Path, low: str) -> None:
    """Between two middle days the median is half their sum, to the last of 18 digits, not the nearest binary float."""
    bills, high = Bills(data_dir, TODAY), "4.0039372875"
    for number, day in enumerate(days(LAST - timedelta(days=56), LAST)):
        bills.bill(day, low if number // 7 % 2 else high)
    bills.bill(LAST, "33.000000000000000003")
    _anomalies(bills)
    expected = (Decimal(low) + Decimal(high)) / 2
    found = rows(
        bills.settings, "select distinct amount, expected, drivers from marts.anomalies where dimension = 'total'"
    )
    assert found == [(Decimal("33.000000000000000003"), expected, "gpt-5, output +29.69")]


def test_the_open_day_is_not_judged(bills: Bills) -> None:
    """Today's bill is still coming in: that it is small is nothing."""
    bills.bill(LAST, "53", quantity=1)
    bills.sync(START, TODAY + timedelta(days=1))
    assert rows(bills.settings, "select count(*) from marts.anomalies where date = $day", {"day": TODAY}) == [(0,)]
