"""The whole of the money on a lived quarter: sums to the last digit, grains, explanations, rebuilds, answers.

Put here what must hold of everything together; one mart's own behaviour is tested beside it.
"""

import os
import re
import shutil
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import pytest

from usage_pipeline.check import run_checks
from usage_pipeline.explain import ITEMS, explain, parse_window
from usage_pipeline.lake.locks import exclusive
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.docs import answered
from usage_pipeline_tests.pages import ANALYSTS, bill, fences, read
from usage_pipeline_tests.quarter import live, quarter_settings
from usage_pipeline_tests.world import NOW, everything, rows

pytestmark = pytest.mark.slow

# The question each thing the quarter must have answers with more than nothing.
HAS = {
    "renames": "select count(*) from (select id from dims.projects group by id having count(distinct name) > 1)",
    "deletions": "select count(*) from dims.api_keys where deleted_at is not null",
    "spend on deleted keys": "select count(*) from marts.cost_by_key where api_key_is_deleted",
    "restatements of closed days": "select count(*) from meta.restatements where not was_provisional",
    "restated bills": "select count(*) from meta.restatements where endpoint = 'costs' and change = 'updated'",
    "credits": "select count(*) from usage.costs where amount < 0",
    "batch": "select count(*) from usage.completions where batch",
    "tiers": "select count(distinct service_tier) - 1 from usage.completions",
    "tools": "select count(*) from marts.cost_allocated where line_kind = 'tool' or reason = 'tool'",
    "unpriced models": "select count(*) from marts.unpriced_models",
    "tags": "select count(*) from marts.cost_by_team where team <> 'untagged'",
    "budgets": "select count(*) from marts.budget_status where budget is not null",
    "spend limits": "select count(*) from marts.budget_status where budget_source = 'spend_limit'",
    "own prices": "select count(*) from dims.prices where is_override",
}
# Every mart that tells the whole bill, with its column of it.
BILLS = {
    "cost_daily": "amount",
    "cost_daily_by_project": "amount",
    "cost_allocated": "amount",
    "cost_by_key": "amount",
    "cost_by_user": "amount",
    "cost_by_team": "amount",
    "cost_drivers_daily": "amount",
    "reconciliation_daily": "billed",
    "focus": '"BilledCost"',
}
CURRENCY = {"focus": 'lower("BillingCurrency")'}


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The lived quarter, made once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with exclusive(shared / "quarter.lock"):
        made = shared / "quarter.json"
        if not made.exists():
            made.write_text(live(shared / "quarter").base_url, encoding="utf-8")
    return quarter_settings(shared / "quarter", made.read_text(encoding="utf-8"))


@pytest.mark.parametrize("what", HAS)
def test_the_quarter_has_what_bills_are_made_of(what: str, quarter: Settings) -> None:
    """What the other tests prove is proven over renames, deletions, credits and the rest, not over their absence."""
    assert rows(quarter, HAS[what])[0][0] > 0


@pytest.mark.parametrize("mart", BILLS)
def test_every_cut_of_the_bill_adds_up_to_it(mart: str, quarter: Settings) -> None:
    """Per day and currency the mart's sum is the bill's, to the last digit."""
    billed = "select date, currency, sum(amount) from usage.costs where amount is not null group by all order by all"
    told = (
        f"select date, {CURRENCY.get(mart, 'currency')}, sum({BILLS[mart]}) from marts.{mart} "
        f"where {BILLS[mart]} is not null group by all order by all"
    )
    assert rows(quarter, told) == rows(quarter, billed)


@pytest.mark.parametrize("mart", load_marts())
def test_every_marts_grain_is_unique(mart: str, quarter: Settings) -> None:
    """No two rows share what the mart's first comment says identifies one."""
    grain = ", ".join(f'"{column}"' for column in load_marts()[mart].grain)
    assert rows(quarter, f"select {grain}, count(*) from marts.{mart} group by all having count(*) > 1") == []


@pytest.mark.parametrize("by", ITEMS)
def test_explain_adds_up_to_the_bills_difference(by: str, quarter: Settings) -> None:
    """Of months, weeks and windows that overlap: effects add up to each change, changes to the bill's difference."""
    billed = "select sum(amount) from usage.costs where date >= $a and date < $b"
    for before, after in (("2026-09", "2026-10"), ("2026-10-19..2026-11-02", "2026-10-26..2026-11-09")):
        windows = parse_window(before, "--from"), parse_window(after, "--to")
        found = explain(quarter, *windows, by=by, currency="usd")
        for compared in (found.in_total, found.a_day):
            for one in (compared.total, *compared.items):
                assert sum(one.effects.values(), Decimal(0)) == one.change
            assert sum((one.change for one in compared.items), Decimal(0)) == compared.total.change
        sides = [rows(quarter, billed, {"a": window.start.date(), "b": window.end.date()})[0][0] for window in windows]
        assert [found.in_total.total.before, found.in_total.total.after] == sides


def test_what_was_built_day_by_day_equals_a_build_from_scratch(quarter: Settings, tmp_path: Path) -> None:
    """After restatements, renames, and new prices, tags and budgets, no mart differs from one computed at once."""
    copy = quarter.model_copy(update={"data_dir": tmp_path / "copy"})
    shutil.copytree(quarter.data_dir, copy.data_dir)
    shutil.rmtree(copy.lake_dir / "marts")
    shutil.rmtree(copy.lake_dir / "meta" / "mart_log")
    assert {build.mart for build in refresh(copy).builds if build.rows} >= set(BILLS)
    assert everything(copy, ["marts"]) == everything(quarter, ["marts"])


def test_checks_find_no_fault_of_ours(quarter: Settings) -> None:
    """Sums, FOCUS's rules and coverage hold; what the checks find is the organization's own business."""
    found = {one.check for one in run_checks(quarter, NOW)}
    assert not found & {"allocation", "focus", "coverage", "freshness"}


def test_the_pages_answers_are_real(quarter: Settings) -> None:
    """Questions and `explain` of analysts.md are answered so (else: python -m usage_pipeline_tests.docs).

    Under another version of the price book other estimates are right: then only the questions' columns are compared.
    """
    page = read(ANALYSTS)
    told = answered(page, quarter)
    if f"genai-prices {version('genai-prices')})" in page:
        assert told == page
    assert len(fences(bill(page), "sql")) == len(fences(bill(page), "text")) == 10
    assert len(fences(bill(page), "console")) == 1, "`explain`, which `answered` runs"
    assert all(len(answer.splitlines()) > 1 for answer in fences(bill(told), "text")), "every question has an answer"
    heads = re.compile(r"```text\n(\w.*)\n")
    assert [line.split() for line in heads.findall(told)] == [line.split() for line in heads.findall(page)]
