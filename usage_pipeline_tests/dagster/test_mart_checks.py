"""The money marts' checks: right after a run, and telling what to do where they do not pass."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import dagster as dg
import pytest

from usage_pipeline.defs.mart_checks import judge_allocation, judge_focus, judge_reconciliation, mart_checks
from usage_pipeline.marts.checks import NotComparable, UnallocatedDifference, Unreconciled
from usage_pipeline.marts.focus_rules import BrokenRule
from usage_pipeline_tests.dagster.stage import Stage, recent, values, verdicts

pytestmark = [pytest.mark.slow, pytest.mark.marts("cost_allocated", "focus", "reconciliation_daily")]

DAY = date(2026, 11, 2)
TOLERANCE = Decimal("0.1")
DIFFERENCE = UnallocatedDifference(
    date=DAY, project_id="p", line_item="gpt-5, input", currency="usd", billed=Decimal("1.50"), allocated=None
)
OFF = Unreconciled(
    date=DAY,
    project_id=None,
    model_family="gpt-5",
    currency="usd",
    billed=Decimal("123456789012345.00000000000000000001"),
    estimated=Decimal(100),
    assumed=Decimal(0),
)
BESIDE = NotComparable(model_family="vector_stores", currency="usd", amount=Decimal("4.20"))


def test_each_mart_has_its_check() -> None:
    """One on the sums, one on the reconciliation, one on each version of FOCUS."""
    keys = {key.to_user_string() for check in mart_checks() for key in check.check_keys}
    assert keys == {
        "marts/cost_allocated:sums_to_the_bill",
        "marts/reconciliation_daily:usage_explains_the_bill",
        "marts/focus:conforms_to_focus_1_2",
        "marts/focus:conforms_to_focus_1_4",
    }


def test_nothing_found_passes() -> None:
    """Equal sums and close estimates pass without a word."""
    for result in (judge_allocation([]), judge_reconciliation([], [BESIDE], TOLERANCE), judge_focus([])):
        assert (result.passed, result.description) == (True, None)


def test_a_difference_is_an_error_and_says_what_to_build() -> None:
    """The line, both sums with all their digits, and the asset to materialize."""
    result = judge_allocation([DIFFERENCE])
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "marts/cost_allocated" in str(result.description)
    assert values(result.metadata)["rows"] == [
        {
            "date": "2026-11-02",
            "project_id": "p",
            "line_item": "gpt-5, input",
            "currency": "usd",
            "billed": "1.5",
            "allocated": None,
        }
    ]


def test_a_day_off_its_bill_is_a_warning_with_exact_amounts() -> None:
    """Days and families are listed, no digit is lost on the way to JSON, and a long list is cut but counted."""
    result = judge_reconciliation([OFF] * 300, [BESIDE], TOLERANCE)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "by more than 10%, first: 2026-11-02, gpt-5." in str(result.description)
    found = values(result.metadata)
    assert (found["found"], len(found["rows"])) == (300, 200)
    assert found["rows"][0] == {
        "date": "2026-11-02",
        "project_id": None,
        "model_family": "gpt-5",
        "currency": "usd",
        "billed": "123456789012345.00000000000000000001",
        "estimated": "100",
        "assumed": "0",
        "delta": "123456789012245.00000000000000000001",
    }
    assert found["not_comparable"] == [{"model_family": "vector_stores", "currency": "usd", "amount": "4.2"}]


def test_a_broken_rule_of_focus_is_an_error_and_a_known_gap_is_not() -> None:
    """What the service does not say is listed without failing; any other rule fails by its name."""
    gap = BrokenRule(column="ConsumedQuantity", rule="is given", rows=7, is_known_gap=True)
    listed = judge_focus([gap])
    assert (listed.passed, listed.description, values(listed.metadata)["found"]) == (True, None, 1)
    assert values(listed.metadata)["rows"] == [
        {"column": "ConsumedQuantity", "rule": "is given", "rows": 7, "is_known_gap": True}
    ]
    result = judge_focus([gap, BrokenRule(column="ConsumedUnit", rule="is a unit", rows=3)])
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "1 rules are broken, first: ConsumedUnit is a unit (3 rows)" in str(result.description)


@pytest.mark.parametrize("days", [8, 2])
def test_a_run_checks_its_days(stage: Stage, days: int) -> None:
    """After a run the parts add up; days whose bill is still coming in are not compared with usage."""
    result = stage.run(recent(days))
    assert verdicts(result, "sums_to_the_bill")["marts/cost_allocated"].passed
    for version in ("1_2", "1_4"):
        assert verdicts(result, f"conforms_to_focus_{version}")["marts/focus"].passed
    compared = verdicts(result, "usage_explains_the_bill")["marts/reconciliation_daily"]
    unsettled = {str(datetime.now(UTC).date() - timedelta(days=number)) for number in range(3)}
    listed = {row["date"] for row in values(compared.metadata)["rows"]}
    assert compared.passed == (not listed)
    assert not listed & unsettled
    assert days > 3 or compared.passed
