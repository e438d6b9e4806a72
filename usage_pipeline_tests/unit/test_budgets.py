"""Budgets: the file is checked line by line, and the forecast is what its definition says."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.errors import FixConfig
from usage_pipeline.marts.budgets import read_budgets
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.daily_bills import Bills, days
from usage_pipeline_tests.world import everything, rows

pytestmark = pytest.mark.marts("budget_status", "cost_daily")

START, TODAY = date(2026, 9, 1), date(2026, 11, 20)  # a Friday
TOMORROW = TODAY + timedelta(days=1)
WEEKEND = 5
HEADER = "scope,project_id,month,amount,currency\n"
_STATUS = """
select budget, month_to_date, run_rate, forecast, forecast_low, forecast_high, days_left, backtest_error, status, as_of
from marts.budget_status where scope = $scope and month = $month
"""


def _weekly(day: date) -> int:
    return 2 if day.weekday() >= WEEKEND else 10


@pytest.fixture
def bills(data_dir: Path) -> Bills:
    """Eleven weeks of 10 a working day and 2 a day at the weekend; today has only begun."""
    found = Bills(data_dir, TODAY)
    for day in days(START, TODAY):
        found.bill(day, _weekly(day))
    found.bill(TODAY, "0.01")
    return found


def _status(bills: Bills, scope: str = "organization", month: date = date(2026, 11, 1)) -> dict[str, Any]:
    names = ("budget", "spent", "run_rate", "forecast", "low", "high", "days_left", "error", "status", "as_of")
    ((found),) = rows(bills.settings, _STATUS, {"scope": scope, "month": month})
    return dict(zip(names, found, strict=True))


def test_a_regular_week_is_forecast_exactly(bills: Bills) -> None:
    """Weekends and working days are told apart; the open day is no history; an exact method has no error."""
    bills.sync(START, TOMORROW)
    found = _status(bills)
    november = [_weekly(day) for day in days(date(2026, 11, 1), date(2026, 12, 1))]
    assert found["as_of"] == date(2026, 11, 19)
    assert found["spent"] == sum(november[:19])
    assert found["forecast"] == found["low"] == found["high"] == sum(november)
    assert (found["days_left"], found["error"], found["status"]) == (11, 0, "no_budget")
    assert round(found["run_rate"], 6) == round(Decimal(sum(november[:19])) / 19, 6)


@pytest.mark.parametrize(
    ("today", "month", "length"),
    [
        (date(2028, 2, 20), date(2028, 2, 1), 29),
        (date(2028, 3, 1), date(2028, 2, 1), 29),
        (date(2027, 2, 20), date(2027, 2, 1), 28),
        (date(2027, 1, 1), date(2026, 12, 1), 31),
        (date(2026, 12, 31), date(2026, 12, 1), 31),
    ],
    ids=str,
)
def test_months_are_as_long_as_they_are(data_dir: Path, today: date, month: date, length: int) -> None:
    """Leap days, the last day of a year and the first of the next are days like others of their month."""
    bills = Bills(data_dir, today)
    bills.bill_days(today - timedelta(days=40), today, 10)
    bills.sync(today - timedelta(days=40), today + timedelta(days=1))
    found = _status(bills, month=month)
    gone = min(length, (today - month).days)
    assert (found["spent"], found["forecast"], found["days_left"]) == (10 * gone, 10 * length, length - gone)


def test_the_level_follows_growth(data_dir: Path) -> None:
    """After costs doubled for the last four weeks the forecast is of the new level."""
    bills = Bills(data_dir, TODAY)
    for day in days(START, TODAY):
        bills.bill(day, _weekly(day) * (2 if day >= TODAY - timedelta(days=28) else 1))
    bills.sync(START, TOMORROW)
    found = _status(bills)
    coming = sum(_weekly(day) for day in days(TODAY, date(2026, 12, 1)))
    assert round(found["forecast"], 6) == found["spent"] + 2 * coming
    assert found["error"] > 0
    assert found["low"] <= found["forecast"] <= found["high"]


@pytest.mark.parametrize(("amount", "status"), [("100", "breached"), ("220", "at_risk"), ("400", "ok")])
def test_budgets_are_judged(bills: Bills, amount: str, status: str) -> None:
    """Spent more than it: breached; will spend more: at risk; else ok. A past month cannot be at risk."""
    bills.budget(f"organization,,,{amount},usd", "project,p,2026-10,250,USD", "project,p,,9999,usd")
    bills.sync(START, TOMORROW)
    assert _status(bills)["status"] == status
    october = _status(bills, "project", date(2026, 10, 1))
    assert (october["budget"], october["forecast"]) == (250, october["spent"])
    assert october["status"] == ("breached" if october["spent"] > 250 else "ok")
    assert _status(bills, "project")["budget"] == 9999


def test_a_changed_file_recomputes_and_a_removed_one_too(bills: Bills) -> None:
    """The next refresh sees the file; without changes nothing is computed; without the file there is no budget."""
    bills.budget("organization,,,100,usd")
    settings = bills.sync(START, TOMORROW)
    built = {build.mart: build.days for build in refresh(settings).builds}
    assert not any(built.values())
    bills.budget("organization,,,1000,usd")
    built = {build.mart: build.days for build in refresh(settings).builds}
    assert built["budget_status"]
    assert not built["cost_daily"]
    assert _status(bills)["status"] == "ok"
    (settings.data_dir / "budgets.csv").unlink()
    refresh(settings)
    assert _status(bills)["status"] == "no_budget"


def test_a_day_closes_without_new_content(bills: Bills, tmp_path: Path) -> None:
    """A day read again unchanged after its end counts from then on, as in a warehouse built at once."""
    bills.sync(START, TOMORROW)
    assert _status(bills)["as_of"] == date(2026, 11, 19)
    bills.service.now += timedelta(days=1)
    bills.sync(START, TOMORROW)
    assert _status(bills)["as_of"] == TODAY
    fresh = Bills(tmp_path / "fresh", TOMORROW)
    for day in days(START, TODAY):
        fresh.bill(day, _weekly(day))
    fresh.bill(TODAY, "0.01")
    fresh.sync(START, TOMORROW)
    assert everything(bills.settings)["marts.budget_status"] == everything(fresh.settings)["marts.budget_status"]


def test_short_history_has_no_interval(data_dir: Path) -> None:
    """Five days give a forecast by their mean, and no interval nor error, rather than made-up ones."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(date(2026, 11, 15), TODAY, 3)
    bills.sync(date(2026, 11, 15), TOMORROW)
    found = _status(bills)
    assert found["forecast"] == 3 * 5 + 3 * 25  # days never read are to come too
    assert (found["low"], found["high"], found["error"]) == (None, None, None)


# Flat 10 a day from September on: 300 in November, 190 of it by the 19th.
_ODD = [
    pytest.param(date(2026, 10, 25), "-500", "credit adjustment", "300", id="credit last month"),
    pytest.param(date(2026, 11, 10), "-500", "credit adjustment", "-200", id="credit this month"),
    pytest.param(date(2026, 11, 10), "-500", "gpt-5, input", "-200", id="negative amount of an ordinary line"),
    pytest.param(date(2026, 11, 18), "1000", "gpt-5, output", "1300", id="one odd day"),
    pytest.param(date(2026, 11, 18), "1000", "gpt-4o-2024-08-06 training", "1300", id="training"),
]


@pytest.mark.parametrize(("day", "amount", "line", "truth"), _ODD)
def test_what_comes_once_is_not_forecast(data_dir: Path, day: date, amount: str, line: str, truth: str) -> None:
    """A credit, a training or one odd day counts in month to date and changes no other day's forecast."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(START, TODAY, 10)
    bills.bill(day, amount, line_item=line)
    bills.budget("organization,,,195,usd", "project,p,,299.99,usd")
    bills.sync(START, TOMORROW)
    for scope in ("organization", "project"):
        found = _status(bills, scope)
        assert found["forecast"] == Decimal(truth)
        assert found["forecast"] >= found["spent"]
        assert found["low"] <= found["forecast"] <= found["high"]
    assert _status(bills)["status"] == {"300": "at_risk", "1300": "breached", "-200": "ok"}[truth]
    assert _status(bills, "project")["status"] == {"300": "at_risk", "1300": "breached", "-200": "ok"}[truth]
    assert (_status(bills)["error"] > 0) == (line == "gpt-5, output"), "the backtest is of what is forecast"


def test_a_bill_of_a_few_days_is_forecast_without_its_dearest(data_dir: Path) -> None:
    """Where most days cost nothing weekdays tell nothing: the mean, which one dear day alone does not move."""
    bills = Bills(data_dir, TODAY)
    bills.bill(START, 1)
    for day in days(START, TODAY):
        if day.day % 9 == 0:
            bills.bill(day, 40)
    bills.bill(date(2026, 11, 17), 5000)
    bills.sync(START, TOMORROW)
    found = _status(bills)
    assert round(found["forecast"], 6) == found["spent"] + round(Decimal(40 * 3) / 27 * 11, 6)


def test_what_ended_is_not_forecast(data_dir: Path) -> None:
    """After three weeks without any cost nothing is to come."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(START, TODAY - timedelta(days=21), 10)
    bills.sync(START, TOMORROW)
    assert _status(bills)["forecast"] == _status(bills)["spent"] == 0


def test_a_new_project_is_forecast_from_its_first_cost(bills: Bills) -> None:
    """A credit before the first usage is no history: days before the first cost do not count as free."""
    bills.bill(date(2026, 10, 1), -5, project_id="new", line_item="credit")
    bills.bill_days(date(2026, 11, 10), TODAY, 6, project_id="new")
    bills.sync(START, TOMORROW)
    ((spent, forecast),) = rows(
        bills.settings,
        "select month_to_date, forecast from marts.budget_status where project_id = 'new' and month = '2026-11-01'",
    )
    assert (spent, forecast) == (60, 60 + 6 * 11)


def test_credits_and_currencies_stay_apart(data_dir: Path) -> None:
    """A credit to nobody's project counts in the organization's total alone; each currency has its own rows."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(date(2026, 11, 1), TODAY, 5)
    bills.bill(date(2026, 11, 3), -20, project_id=None, line_item="credit adjustment")
    bills.bill(date(2026, 11, 4), 7, currency="eur")
    bills.sync(date(2026, 11, 1), TOMORROW)
    found = rows(bills.settings, "select scope, currency, month_to_date from marts.budget_status order by all")
    assert found == [
        ("organization", "eur", 7),
        ("organization", "usd", 5 * 19 - 20),
        ("project", "eur", 7),
        ("project", "usd", 5 * 19),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("team,,,1,usd", r"line 2, column scope: 'team': .*'organization' or 'project'"),
        ("project,,,1,usd", "line 2: scope project needs a project_id"),
        ("organization,p,,1,usd", "line 2: .*must have none"),
        ("project,p,11/2026,1,usd", "column month: '11/2026': write a month as YYYY-MM"),
        ("project,p,2026-13,1,usd", "column month"),
        ("project,p,,-1,usd", "column amount"),
        ("project,p,,1e,usd", "column amount"),
        ("project,p,,nan,usd", "column amount"),
        ("project,p,,1,dollars", "column currency: 'dollars': use the three letters of a currency, such as usd"),
        ("project,p,1", "line 2: 3 cells where the first line names 5"),
        ("project,p,,1,usd\n\nproject,p,,2,USD", "line 4, column project_id: repeats line 2"),
        ('project,"p', "not CSV text"),
    ],
)
def test_a_wrong_line_is_named_with_the_way_out(tmp_path: Path, line: str, says: str) -> None:
    """File, line, column, and what a right line looks like."""
    path = tmp_path / "budgets.csv"
    path.write_text(HEADER + line + "\n", encoding="utf-8")
    with pytest.raises(FixConfig, match=rf"budgets\.csv.*{says}"):
        read_budgets(path)


def test_a_wrong_header_or_encoding_is_refused(tmp_path: Path) -> None:
    """The first line must name the columns; the text must be UTF-8 (a byte order mark is no harm)."""
    path = tmp_path / "budgets.csv"
    path.write_text("project,amount\n", encoding="utf-8")
    with pytest.raises(FixConfig, match="line 1: column 'project' is not known; the columns are scope,project_id"):
        read_budgets(path)
    path.write_bytes(HEADER.encode() + b"project,\xff,,1,usd\n")
    with pytest.raises(FixConfig, match="UTF-8"):
        read_budgets(path)
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"project, p ,2026-11, 1.50 ,USD\r\n")
    (budget,) = read_budgets(path)
    assert (budget.project_id, budget.month, budget.amount) == ("p", date(2026, 11, 1), Decimal("1.50"))
    assert budget.currency == "usd"


def test_a_wrong_file_leaves_what_is_published(bills: Bills) -> None:
    """The refresh is refused, and the published file still answers."""
    bills.budget("organization,,,100,usd")
    settings = bills.sync(START, TOMORROW)
    bills.budget("organization,,,much,usd")
    with pytest.raises(FixConfig, match="column amount"):
        refresh(settings)
    assert _status(bills)["budget"] == 100


def test_each_line_is_of_one_organization(tmp_path: Path) -> None:
    """Where there are several a line names its own, so that one project id may have a budget in each."""
    path = tmp_path / "budgets.csv"
    path.write_text(f"{HEADER[:-1]},organization\nproject,p,,1,usd,acme\nproject,p,,2,usd,beta\n", encoding="utf-8")
    found = read_budgets(path, ["acme", "beta"])
    assert [(one.organization, one.amount) for one in found] == [("acme", 1), ("beta", 2)]
    with pytest.raises(FixConfig, match=r"line 3, column organization: 'beta' is not configured: write one of acme"):
        read_budgets(path, ["acme"])
    path.write_text(HEADER + "project,p,,1,usd\n", encoding="utf-8")
    assert [one.organization for one in read_budgets(path, ["acme"])] == ["acme"]
    with pytest.raises(FixConfig, match=r"line 2, column organization: is empty: write one of acme, beta"):
        read_budgets(path, ["acme", "beta"])
