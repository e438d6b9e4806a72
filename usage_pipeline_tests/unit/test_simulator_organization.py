"""What the simulated organization answers at one moment: consistent, realistic, decided by the seed."""

import hashlib
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.simulator.roster import FOUNDED, Roster
from usage_pipeline_tests.simulated import NOW, SEED, SETTLED_DAY, buckets_of, organization, rows_of, total

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())
each_usage = pytest.mark.parametrize("name", [e.name for e in ENDPOINTS.values() if not e.is_money])
TOKEN_ENDPOINTS = ["completions", "decisions"]
RECENT_DAYS = [SETTLED_DAY - timedelta(days=n) for n in range(45)]
DIGEST = """
from usage_pipeline_tests.unit.test_simulator_organization import digest
print(digest())
"""


@pytest.fixture(scope="module")
def acme() -> Organization:
    """An organization that stands still; the tests of this module only read it."""
    return organization()


def digest() -> str:
    """A hash of a day of every endpoint, made from nothing but the seed."""
    source = organization()
    days = repr([rows_of(source, name, SETTLED_DAY) for name in ENDPOINTS])
    return hashlib.sha256(days.encode()).hexdigest()


def test_same_seed_same_history_in_any_process() -> None:
    """Another process, with another hash seed, sees the same organization."""
    other = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={"PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest()


def test_order_of_questions_does_not_matter(acme: Organization) -> None:
    """Answers do not depend on what was asked before."""
    for name in reversed(ENDPOINTS):
        assert rows_of(organization(), name, SETTLED_DAY) == rows_of(acme, name, SETTLED_DAY)


def test_another_seed_is_another_organization(acme: Organization) -> None:
    """Seeds differ in ids and in usage."""
    other = organization(seed=SEED + 1)
    assert not {k.id for k in other.roster.keys_created_by(NOW.date())} & {
        k.id for k in acme.roster.keys_created_by(NOW.date())
    }
    assert total(rows_of(other, "completions", SETTLED_DAY), "input_tokens") != total(
        rows_of(acme, "completions", SETTLED_DAY), "input_tokens"
    )


@each_endpoint
def test_every_grouping_adds_up_to_the_same(acme: Organization, endpoint: Endpoint) -> None:
    """Grouped by nothing, any one, any two or all dimensions, each measure has one and the same sum."""
    names = endpoint.dimension_names
    groupings = [(), *((n,) for n in names), *combinations(names, 2), names]
    for measure in (m for m in endpoint.measures if m.kind != "quantity"):
        sums = {total(rows_of(acme, endpoint.name, SETTLED_DAY, group_by=by), measure.name) for by in groupings}
        assert len(sums) == 1
        assert sums.pop() or not measure.is_required


@each_usage
def test_hours_and_minutes_add_up_to_the_day(acme: Organization, name: str) -> None:
    """What can be summed over time is the same by the minute, hour and day; of a level, the last one is the day's."""
    for measure in ENDPOINTS[name].measures:
        by_width = [buckets_of(acme, name, SETTLED_DAY, group_by=[], width=w) for w in ("1m", "1h", "1d")]
        if measure.is_additive:
            assert len({sum(total(rows, measure.name) for rows in buckets) for buckets in by_width}) == 1
        else:
            levels = [total(buckets[-1], measure.name) for buckets in by_width]
            assert levels[0] == levels[1] == levels[2] > 0
            assert sum(total(rows, measure.name) for rows in by_width[1]) > 20 * levels[2]


@pytest.mark.parametrize("name", TOKEN_ENDPOINTS)
def test_token_identities(acme: Organization, name: str) -> None:
    """Input is cached, cache-write and uncached together; these, and the output, are the sums of their own splits."""

    def added(row: dict[str, Any], *measures: str) -> int:
        return sum(row.get(f"{m}_tokens") or 0 for m in measures)

    rows = [row for day in RECENT_DAYS[:10] for row in rows_of(acme, name, day)]
    assert all((row.get(m.name) or 0) >= 0 for row in rows for m in ENDPOINTS[name].measures)
    for row in rows:
        assert row["input_tokens"] == added(row, "input_cached", "input_cache_write", "input_uncached")
        assert added(row, "input_uncached") == added(row, "input_text", "input_audio", "input_image")
        assert added(row, "input_cache_write") == added(row, "input_cache_write_30m", "input_cache_write_12h")
        cached = ("input_cached_text", "input_cached_audio", "input_cached_image")
        assert added(row, "input_cached") == added(row, *cached)
        assert row["output_tokens"] == added(row, "output_text", "output_audio", "output_image")


def test_every_kind_of_token_is_used(acme: Organization) -> None:
    """Completions use each token count the service splits out, but for image output."""
    rows = [row for day in RECENT_DAYS[:10] for row in rows_of(acme, "completions", day)]
    assert {m.name for m in ENDPOINTS["completions"].measures if not total(rows, m.name)} == {"output_image_tokens"}


def test_splits_are_absent_null_and_zero(acme: Organization) -> None:
    """A split of nothing is left out, null or 0: all three occur, and never for a required count."""
    rows = [row for day in RECENT_DAYS[:5] for row in rows_of(acme, "completions", day)]
    for measure in ENDPOINTS["completions"].measures:
        forms = {row.get(measure.name, "absent") for row in rows if not row.get(measure.name)}
        if measure.is_required:
            assert forms == set()
        elif measure.name in ("output_image_tokens", "input_image_tokens"):
            assert forms == {"absent", None, 0}


def test_old_responses_have_no_cache_writes(acme: Organization) -> None:
    """Before the fields existed they are absent from every row."""
    rows = rows_of(acme, "completions", date(2026, 5, 20))
    assert rows
    assert not any("cache_write" in field for row in rows for field in row)


def test_a_day_of_completions_has_a_realistic_size(acme: Organization) -> None:
    """By all seven dimensions a working day has 40 to 120 rows of a dozen models and several of everything else."""
    rows = rows_of(acme, "completions", SETTLED_DAY)
    assert 40 <= len(rows) <= 120
    seen = {name: {row[name] for row in rows} for name in ENDPOINTS["completions"].dimension_names}
    assert len(seen["model"]) >= 12
    assert any(model.startswith("ft:") for model in seen["model"])
    assert 4 <= len(seen["project_id"]) <= 6
    assert None in seen["user_id"]
    assert seen["batch"] == {True, False}
    assert seen["api_source"] == {"agents_api", "unlabeled"}
    assert {"default", "flex", "priority", None} == seen["service_tier"]


def test_models_are_not_used_before_they_came_out(acme: Organization) -> None:
    """A day in early 2025 knows no model of that summer."""
    models = {row["model"] for row in rows_of(acme, "completions", date(2025, 2, 12))}
    assert "gpt-4o-2024-08-06" in models
    assert not any(model.startswith("gpt-5") for model in models)


@each_endpoint
def test_history_begins_when_the_organization_was_founded(acme: Organization, endpoint: Endpoint) -> None:
    """Before its founding there is nothing; within its first year something."""
    assert not any(rows_of(acme, endpoint.name, FOUNDED - timedelta(days=n), group_by=[]) for n in range(1, 9))
    assert any(rows_of(acme, endpoint.name, FOUNDED + timedelta(days=n), group_by=[]) for n in range(300))


def test_one_bucket_can_hold_two_rows_of_one_group(acme: Organization) -> None:
    """A group key is not unique: seldom, two rows have identical dimensions, in usage and in costs."""
    for name in ("completions", "costs"):
        counts = [
            Counter(tuple(row[d] for d in ENDPOINTS[name].dimension_names) for row in rows_of(acme, name, day))
            for day in RECENT_DAYS
        ]
        days_with_pairs = sum(max(count.values(), default=0) == 2 for count in counts)
        assert 0 < days_with_pairs < len(RECENT_DAYS) / 2
        assert max(max(count.values(), default=0) for count in counts) == 2


def test_ungrouped_buckets_hold_one_row(acme: Organization) -> None:
    """Without grouping a bucket has one row at most, also on days when a group has two."""
    for name in ("completions", "costs"):
        assert {len(rows_of(acme, name, day, group_by=[])) for day in RECENT_DAYS} == {0, 1}


def test_keys_work_only_while_they_live(acme: Organization) -> None:
    """Keys are created and deleted; a deleted one keeps its past usage and has none after."""
    keys = {key.id: key for key in acme.roster.keys_created_by(NOW.date())}
    used: dict[str, list[date]] = {}
    for day in RECENT_DAYS:
        for row in rows_of(acme, "completions", day, group_by=["api_key_id"]):
            used.setdefault(row["api_key_id"], []).append(day)
    for key_id, days in used.items():
        key = keys[key_id]
        assert key.created <= min(days)
        assert key.deleted is None or max(days) < key.deleted
    assert any((keys[k].deleted or NOW.date()) < SETTLED_DAY for k in used)
    assert any(keys[k].created > RECENT_DAYS[-1] for k in used)


def test_about_two_dozen_keys_at_any_time() -> None:
    """The number of working keys stays steady over the years, while ever more were created."""
    roster = Roster(SEED)
    for year in (2025, 2026, 2030, 2040):
        assert 18 <= sum(key is not None for key in roster.keys_on(date(year, 6, 1))) <= 26
    assert len(roster.keys_created_by(date(2026, 6, 1))) < len(roster.keys_created_by(date(2030, 6, 1)))


@each_endpoint
def test_filters_keep_the_matching_rows(acme: Organization, endpoint: Endpoint) -> None:
    """A filter gives the rows of the unfiltered answer that match, and an unknown value gives none."""
    everything = rows_of(acme, endpoint.name, SETTLED_DAY)
    for parameter, dimension in endpoint.filters.items():
        if dimension.kind == "flag":
            kept = rows_of(acme, endpoint.name, SETTLED_DAY, filters=[(parameter, "true")])
            assert len(kept) == sum(row[dimension.name] is True for row in everything)
        else:
            assert rows_of(acme, endpoint.name, SETTLED_DAY, filters=[(f"{parameter}[]", "nobody")]) == []
