"""What the simulated organization is billed: exact amounts derived from its usage, lines as on real bills."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest

from usage_pipeline.simulator.organization import Organization
from usage_pipeline_tests.simulated import SETTLED_DAY, organization, rows_of, total

TOKEN_ENDPOINTS = ["completions", "decisions"]
RECENT_DAYS = [SETTLED_DAY - timedelta(days=n) for n in range(45)]


@pytest.fixture(scope="module")
def acme() -> Organization:
    """An organization that stands still; the tests of this module only read it."""
    return organization()


def test_costs_are_the_usage_at_its_price(acme: Organization) -> None:
    """Of a model without tiers or batches, the amount is exactly tokens times list price, line by line."""
    rows = rows_of(acme, "embeddings", SETTLED_DAY, group_by=["model"])
    billed = rows_of(acme, "costs", SETTLED_DAY, group_by=["line_item"])
    prices = {"text-embedding-3-small": "0.00000002", "text-embedding-3-large": "0.00000013"}
    for model, price in prices.items():
        tokens = total([row for row in rows if row["model"] == model], "input_tokens")
        line = [row for row in billed if row["line_item"] == f"{model}, input"]
        assert total(line, "amount") == tokens * Decimal(price) > 0
        assert total(line, "quantity") == tokens


@pytest.mark.parametrize(
    ("direction", "usd_per_million", "measures"),
    [
        ("input", "1.25", ("input_uncached_tokens", "input_cache_write_tokens")),
        ("cached input", "0.125", ("input_cached_tokens",)),
        ("output", "10", ("output_tokens",)),
    ],
)
def test_tiers_change_the_price(
    acme: Organization, direction: str, usd_per_million: str, measures: tuple[str, ...]
) -> None:
    """Each direction of a model has its price; batch and flex pay half of it, priority double."""
    model, groups = "gpt-5-2025-08-07", ["model", "batch", "service_tier"]
    expected = Decimal(0)
    factors = set()
    for row in [r for name in TOKEN_ENDPOINTS for r in rows_of(acme, name, SETTLED_DAY, group_by=groups)]:
        if row["model"] == model:
            is_half = row["batch"] or row["service_tier"] == "flex"
            factor = Decimal("0.5") if is_half else Decimal(2 if row["service_tier"] == "priority" else 1)
            factors.add(factor)
            expected += factor * sum(row.get(m) or 0 for m in measures) * Decimal(usd_per_million) / 10**6
    lines = [
        row
        for row in rows_of(acme, "costs", SETTLED_DAY, group_by=["line_item"])
        if row["line_item"] == f"{model}, {direction}"
    ]
    assert total(lines, "amount") == expected > 0
    assert len(factors) > 1


def test_line_items_follow_the_grammar(acme: Organization) -> None:
    """Lines read as on real bills: directions, fine-tunes, surfaces, tools, storage, sizes with commas."""
    rows = [row for day in RECENT_DAYS for row in rows_of(acme, "costs", day, group_by=["line_item"])]
    units = {row["line_item"]: row["quantity_unit"] for row in rows}
    expected = {
        "ft-gpt-4o-2024-08-06, input": "tokens",
        "gpt-4o-2024-08-06, cached input": "tokens",
        "assistants api | file search": None,
        "web search tool calls": None,
        "assistants api | vector store storage": "gibibyte_hours",
        "whisper-1": "duration_seconds",
        "tts-1": "characters",
        "ft-gpt-4o-2024-08-06 training": "tokens",
        "credit adjustment": None,
    }
    assert expected.items() <= units.items()
    assert any(re.fullmatch(r"dall-e 3, standard, \d+x\d+", item) for item in units)
    assert any(item.startswith("evals | ") and item.endswith(", output") for item in units)
    assert not any("ft:" in item for item in units)


def test_credits_are_negative_and_belong_to_no_project(acme: Organization) -> None:
    """A credit is a negative amount without project, key or quantity."""
    rows = [row for day in RECENT_DAYS for row in rows_of(acme, "costs", day) if row["amount"] < 0]
    assert rows
    for row in rows:
        assert (row["line_item"], row["project_id"], row["api_key_id"]) == ("credit adjustment", None, None)
        assert (row["quantity"], row["quantity_unit"]) == (None, None)


def test_costs_have_zero_lines_and_long_fractions(acme: Organization) -> None:
    """Free models are billed as exactly zero, and storage needs fifteen decimals."""
    rows = rows_of(acme, "costs", SETTLED_DAY, group_by=["line_item"])
    places = [-int(row["amount"].normalize().as_tuple().exponent) for row in rows]
    assert any(row["amount"] == 0 and row["quantity"] for row in rows)
    assert 15 <= max(places) <= 16


def test_quantities_only_by_line_item(acme: Organization) -> None:
    """Without the line item a quantity would mix units, so there is none."""
    for row in rows_of(acme, "costs", SETTLED_DAY, group_by=["project_id"]):
        assert (row["quantity"], row["quantity_unit"]) == (None, None)


def test_cost_rows_carry_the_undocumented_names(acme: Organization) -> None:
    """Every cost row has the names seen live; organization_id and user_email only the first of a bucket."""
    first, *rest = rows_of(acme, "costs", SETTLED_DAY)
    names = {project.id: project.name for project in acme.roster.projects}
    assert first["organization_id"] == acme.roster.organization_id
    assert "user_email" in first
    assert not any("organization_id" in row or "user_email" in row for row in rest)
    assert all(row["project_name"] == names.get(row["project_id"]) for row in (first, *rest))
