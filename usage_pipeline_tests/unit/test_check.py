"""`usage-pipeline check`: what it finds, what fails, what it tells to do."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from usage_pipeline.check import CHECKS, run_checks
from usage_pipeline.errors import FixConfig
from usage_pipeline.marts.findings import Finding
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.daily_bills import Bills
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.played_bills import name_them
from usage_pipeline_tests.unit.test_cli import assert_one_line, env, run
from usage_pipeline_tests.world import TODAY, World, last_days, rows

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
START = date(2026, 10, 1)


@pytest.fixture
def bills(data_dir: Path) -> Bills:
    """Seven weeks of 10 a day."""
    found = Bills(data_dir, TODAY)
    found.bill_days(START, TODAY, 10, quantity=5)
    return found


def _of(found: list[Finding], check: str) -> list[Finding]:
    return [one for one in found if one.check == check]


def test_a_breached_budget_is_an_error_with_a_way_out(bills: Bills) -> None:
    """More spent than budgeted fails; a month before that was breached is past."""
    bills.budget("organization,,2026-10,1,usd", "organization,,2026-11,100,usd", "project,p,,250,usd")
    found = _of(run_checks(bills.sync(START, TODAY), NOW), "budget")
    assert [(one.is_error, one.key) for one in found] == [
        (True, "budget|default|2026-11||usd|breached"),
        (False, "budget|default|2026-11|p|usd|at_risk"),
    ]
    assert "has spent 190.00 USD of 100.00 USD for 2026-11 by 2026-11-19" in found[0].message
    assert "explain --from 2026-10 --to 2026-11" in found[0].message
    assert "will spend 300.00 USD of 250.00 USD" in found[1].message


def test_a_mistyped_budget_is_a_warning(bills: Bills) -> None:
    """A budget of a project or currency nothing was ever billed to names itself and what to look at."""
    bills.bill(START, 1, currency="gbp")
    bills.budget("project,proj_nonexistent,,80,usd", "organization,,,5.00,eur", "project,p,,0,gbp")
    settings = bills.sync(START, TODAY)
    found = _of(run_checks(settings, NOW), "budget")
    assert [(one.is_error, one.key) for one in found] == [
        (False, "budget|default|2026-11||eur|no_cost"),
        (False, "budget|default|2026-11|proj_nonexistent|usd|no_cost"),
    ]
    assert "nothing was ever billed to the organization in EUR, so 5.00 EUR for 2026-11" in found[0].message
    assert "nothing was ever billed to project proj_nonexistent in USD" in found[1].message
    assert "is the project_id one of dims.projects" in found[1].message
    statuses = "select currency, status from marts.budget_status where budget is not null and month = '2026-11-01'"
    assert set(rows(settings, statuses)) == {("eur", "no_cost"), ("usd", "no_cost"), ("gbp", "ok")}


@pytest.mark.slow
def test_a_budget_written_since_the_last_sync_counts(bills: Bills) -> None:
    """The file is read by the check itself."""
    settings = bills.sync(START, TODAY)
    assert _of(run_checks(settings, NOW), "budget") == []
    bills.budget("organization,,,100,usd")
    assert len(_of(run_checks(settings, NOW), "budget")) == 1


@pytest.mark.slow
def test_an_anomaly_on_the_last_closed_day_is_found_and_older_ones_are_not(bills: Bills) -> None:
    """Only the last closed day is told; an order of magnitude fails, less warns."""
    bills.bill(TODAY - timedelta(days=2), 20)
    bills.bill(TODAY - timedelta(days=1), 25)
    found = _of(run_checks(bills.sync(START, TODAY), NOW), "anomaly")
    assert {one.is_error for one in found} == {False}
    assert found[0].key == "anomaly|default|2026-11-19|total||usd"
    assert found[0].message.startswith("All cost on 2026-11-19 is up far from usual: 35.00 USD, expected 10.00 USD.")
    bills.bill(TODAY - timedelta(days=1), 2000)
    found = _of(run_checks(bills.sync(START, TODAY), NOW), "anomaly")
    assert {one.is_error for one in found} == {True}


@pytest.mark.slow
def test_findings_name_projects_as_people_know_them(bills: Bills) -> None:
    """A budget, an anomaly and a bill that usage does not explain are told with the project's last name."""
    bills.budget("project,p,,1,usd")
    bills.bill(TODAY - timedelta(days=1), 90)
    bills.bill(TODAY - timedelta(days=3), 5)  # the newest day of which the bill is compared with usage
    bills.bill(TODAY - timedelta(days=3), 7, line_item="Fee")
    settings = bills.sync(START, TODAY)
    begin = {"valid_from": datetime(2026, 1, 1)}  # noqa: DTZ001 - UTC, as stored
    name_them(settings, "projects", {"id": "p", "name": "Search", **begin})
    told = {one.check: one.message for one in run_checks(settings, NOW)}
    assert "project Search (p) has spent" in told["budget"]
    assert "Cost of project Search (p) on 2026-11-19" in " ".join(
        one.message for one in run_checks(settings, NOW) if one.check == "anomaly"
    )
    assert "on 30 days of 2026-10-19..2026-11-18 model families are off" in told["reconciliation"]
    assert (
        "5% (30 in all), most 2026-11-17, project Search (p), gpt-5: 15.00 usd billed, 0.00 est"
        in told["reconciliation"]
    )
    assert "Not comparable: 7.00 usd." in told["reconciliation"]


@pytest.mark.slow
def test_the_tolerance_of_the_reconciliation_is_a_setting(data_dir: Path) -> None:
    """With a tolerance of everything, a bill without any usage is no finding."""
    for tolerance, found in (("0.05", 1), ("1", 0)):
        bills = Bills(data_dir / tolerance, TODAY, USAGE_PIPELINE_RECONCILIATION_TOLERANCE=tolerance)
        bills.bill_days(START, TODAY, 10)
        assert len(_of(run_checks(bills.sync(START, TODAY), NOW), "reconciliation")) == found


def test_a_broken_rule_of_focus_is_an_error(bills: Bills) -> None:
    """A unit the specification cannot take fails the check, under both versions."""
    bills.bill(TODAY - timedelta(days=1), 1, quantity=1, quantity_unit="parsec_squared", line_item="warp")
    found = _of(run_checks(bills.sync(START, TODAY), NOW), "focus")
    assert {one.is_error for one in found} == {True}
    assert {one.key for one in found} == {
        f"focus|default|{version}|{column}|is a unit"
        for version in ("1.2", "1.4")
        for column in ("ConsumedUnit", "PricingUnit")
    }


@pytest.mark.slow
def test_gaps_and_endpoints_never_read_are_warnings_with_the_command(bills: Bills) -> None:
    """Days between known days, and endpoints nobody read, are named with what to run."""
    bills.sync(date(2026, 10, 20), TODAY)
    found = {
        one.message.split()[0]: one for one in _of(run_checks(bills.sync(START, date(2026, 10, 10)), NOW), "coverage")
    }
    assert not any(one.is_error for one in found.values())
    assert "lacks 2026-10-10..2026-10-20" in found["costs"].message
    assert "--endpoint costs --since 2026-10-10 --until 2026-10-20" in found["costs"].message
    assert "was never read: run `usage-pipeline sync --endpoint images`" in found["images"].message


@pytest.mark.slow
def test_old_data_is_a_warning(still_world: World, data_dir: Path) -> None:
    """A day and a half after the last sync it is said once, for all endpoints together."""
    settings = still_world.settings(data_dir)
    still_world.sync(settings, last_days(3))
    assert _of(run_checks(settings, NOW + timedelta(minutes=30)), "freshness") == []
    (one,) = _of(run_checks(settings, NOW + timedelta(days=2)), "freshness")
    assert not one.is_error
    assert "costs" in one.message
    assert _of(run_checks(settings, NOW), "allocation") == []


def test_an_empty_lake_is_no_success(data_dir: Path) -> None:
    """Nothing synced: nothing can be said to hold."""
    with pytest.raises(FixConfig, match=r"nothing to check yet.*usage-pipeline sync"):
        run_checks(played_settings(data_dir), utc_now())


@pytest.mark.slow
def test_readers_find_the_organization_that_is_there(still_world: World, data_dir: Path, tmp_path: Path) -> None:
    """Without one configured, `explain`, `check` and `publish` take the folder's; a wrong one is named."""
    settings = still_world.settings(data_dir, USAGE_PIPELINE_ORGANIZATION="acme")
    still_world.sync(settings, last_days(3), ["costs"])
    explained = run("explain", "--from", "2026-11-18", "--to", "2026-11-19", cwd=tmp_path, **env(settings))
    assert (explained.returncode, "In all: " in explained.stdout) == (0, True), explained.stderr
    checked = run("check", "--json", cwd=tmp_path, **env(settings))
    assert "|acme|" in json.loads(checked.stdout)["findings"][0]["key"]
    (data_dir / "budgets.csv").write_text("scope,amount,currency\norganization,5,usd\n", encoding="utf-8")
    assert run("publish", cwd=tmp_path, **env(settings)).returncode == 0
    assert rows(settings, "select distinct organization from dims.budgets") == [("acme",)]
    wrong = run("check", cwd=tmp_path, **env(settings, USAGE_PIPELINE_ORGANIZATION="other"))
    assert_one_line(wrong, "holds nothing of organization 'other': set USAGE_PIPELINE_ORGANIZATION to acme", 2)


@pytest.mark.slow
def test_the_commands_exit_codes(bills: Bills, tmp_path: Path) -> None:
    """0 with warnings, 3 with an error or in strict mode; JSON on stdout either way."""
    settings = bills.sync(START, TODAY)
    calm = run("check", "--json", cwd=tmp_path, **env(settings))
    assert calm.returncode == 0, calm.stderr
    report = json.loads(calm.stdout)
    assert (report["passed"], report["checks"]) == (True, list(CHECKS))
    assert {"check", "is_error", "key", "message"} == set(report["findings"][0])
    strict = run("check", "--json", "--strict", cwd=tmp_path, **env(settings))
    assert (strict.returncode, json.loads(strict.stdout)["passed"]) == (3, False)
    bills.budget("organization,,,100,usd")
    failed = run("check", cwd=tmp_path, **env(settings))
    assert failed.returncode == 3
    assert "Budget breached" in " ".join(failed.stdout.split())
    assert failed.stderr.splitlines() == ["usage-pipeline: 1 findings fail: budget. What to do is said with each."]
    bills.budget("organization,,,much,usd")
    assert_one_line(run("check", cwd=tmp_path, **env(settings)), "line 2, column amount", 2)
