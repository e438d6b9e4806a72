"""What the report says: the marts' figures to the last digit, or plainly that there are none."""

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal, localcontext
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import time_machine
from typer.testing import CliRunner

from usage_pipeline.cli.main import app
from usage_pipeline.errors import FixConfig, LakeUnwritable
from usage_pipeline.report.period import choose_period
from usage_pipeline.report.queries import marts_read
from usage_pipeline.report.write import Report, write_report
from usage_pipeline.settings import Settings
from usage_pipeline_tests.daily_bills import Bills
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import NOW, last_days, rows

AS_OF = date(2026, 11, 19)
END = AS_OF + timedelta(days=1)
FIRST = date(2026, 9, 1)
TOP, SMALL = Decimal("1234567890123456.78901234567890123456"), Decimal("0.00000000000000000001")
_DATA = re.compile(r'<data value="([^"]*)">')


@pytest.fixture(autouse=True)
def _only_what_it_reads() -> Iterator[None]:
    """A report stands on these marts alone."""
    with only_marts(*sorted(marts_read())):
        yield


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Eleven weeks of bills, and budgets: two projects of usual cost, ten of next to none, one dear day."""
    bills = Bills(tmp_path_factory.mktemp("billed") / "my data")
    with only_marts(*sorted(marts_read())):
        bills.bill_days(FIRST, END, "10.25", project_id="big", quantity=1000)
        bills.bill_days(FIRST, END, "2.5", project_id="mid", quantity=10, line_item="gpt-5-mini, input")
        for number in range(10):
            bills.bill(date(2026, 11, 3), SMALL * (number + 1), project_id=f"small{number}")
        bills.bill(date(2026, 11, 10), "90.12", project_id="big", quantity=9000)
        bills.bill(date(2026, 11, 12), "7", currency="eur", project_id="big")
        bills.budget("organization,,,500.00,usd", "project,mid,,10.00,usd")
        return bills.sync(FIRST, END)


def written(settings: Settings, tmp_path: Path, **more: Any) -> tuple[Report, str]:
    """The report and its text."""
    done = write_report(settings, now=NOW, output=tmp_path / "report.html", **more)
    return done, done.path.read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    """A section's markup."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None, name
    return found.group()


def plain(markup: str) -> str:
    """The text of markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def sums(markup: str) -> list[list[Decimal]]:
    """The sums at the feet of its tables, every digit."""
    return [[Decimal(one) for one in _DATA.findall(foot)] for foot in re.findall(r"<tfoot>.*?</tfoot>", markup)]


def test_the_headline_is_the_marts(billed: Settings, tmp_path: Path) -> None:
    """Month to date, forecast and budget are the rows of marts.budget_status, with every digit beside what is shown."""
    done, page = written(billed, tmp_path)
    ((to_date, forecast, budget),) = rows(
        billed,
        "select month_to_date, forecast, budget from marts.budget_status "
        "where scope = 'organization' and currency = 'usd' and month = date '2026-11-01'",
    )
    told = {one.id: one.exact for one in done.figures}
    assert [Decimal(str(told[name])) for name in ("month", "forecast", "budget")] == [to_date, forecast, budget]
    assert f'<data value="{told["month"]}">$' in page
    assert "within budget" in page
    assert [one.label for one in done.trust] == ["Freshness", "Provisional", "Reconciliation"]


def test_each_cut_adds_up_to_the_bill(billed: Settings, tmp_path: Path) -> None:
    """Cost by project and by model, the others included, add up to the period's bill to the last digit."""
    done, page = written(billed, tmp_path)
    bill = rows(
        billed,
        "select sum(amount) from usage.costs where currency = 'usd' and date between $a and $b",
        {"a": date.fromisoformat(done.first_day), "b": date.fromisoformat(done.last_day)},
    )[0][0]
    feet = sums(section(page, "cost"))
    assert len(feet) == 2
    for whole, *parts in feet:
        assert whole == sum(parts, Decimal(0)) == bill
    assert len(feet[0]) == 1 + 8 + 1, "all, eight projects, the others"
    assert "4 others" in section(page, "cost")
    for table in re.findall(r"<table>.*?</table>", section(page, "spenders"), re.DOTALL):
        assert sum(map(Decimal, _DATA.findall(table)), Decimal(0)) == bill


def test_no_digit_is_lost_whatever_the_amount(tmp_path: Path) -> None:
    """Amounts of thirty-six digits are summed and written whole."""
    bills = Bills(tmp_path / "data")
    bills.bill(AS_OF, TOP, project_id="a")
    bills.bill(AS_OF, SMALL, project_id="b")
    _, page = written(bills.sync(AS_OF, END), tmp_path)
    with localcontext(prec=60):
        assert sums(section(page, "cost"))[0] == [TOP + SMALL, TOP, SMALL]


def test_the_burn_down_ends_where_the_marts_say(billed: Settings, tmp_path: Path) -> None:
    """What is left today is budget less month to date, and what is expected budget less forecast, low and high."""
    _, page = written(billed, tmp_path)
    ((budget, to_date, forecast, low, high, error),) = rows(
        billed,
        "select budget, month_to_date, forecast, forecast_low, forecast_high, backtest_error from marts.budget_status "
        "where scope = 'organization' and currency = 'usd' and month = date '2026-11-01'",
    )
    lines = re.findall(r"<tr>.*?</tr>", section(page, "budget"))
    left = {plain(line).split()[0]: [Decimal(one) for one in _DATA.findall(line)] for line in lines}
    assert left["2026-11-19"] == [budget - to_date]
    assert left["2026-11-30"] == [budget - forecast, budget - high, budget - low]
    said = plain(section(page, "budget"))
    assert f"it was off by {error * 100:.1f} % on average" in said or f"off by {error * 100:.0f} % on" in said
    assert "mid $10.00 $47.50" in said
    assert "over budget" in said


def test_what_changed_is_told_as_explain_tells_it(billed: Settings, tmp_path: Path) -> None:
    """The movers are explain's sentences against the days before; the change stands in the headline."""
    done, page = written(billed, tmp_path)
    told = plain(section(page, "changes"))
    assert "By project big +$90.12 (from $307.50 to $397.62), because of more tokens" in told
    assert "By model gpt-5" in told
    period = next(one for one in done.figures if one.id == "period")
    assert period.pill == "+24 %"
    assert period.note == "+$90.12 against 21 Sep to 20 Oct 2026."


def test_anomalies_are_marked_and_said_with_what_is_behind_them(billed: Settings, tmp_path: Path) -> None:
    """The dear day is in the list with its drivers, and in the chart."""
    _, page = written(billed, tmp_path)
    told = plain(section(page, "anomalies"))
    assert "10 Nov 2026, All cost : $102.87, $12.75 expected; an order of magnitude" in told
    assert "Behind it: gpt-5, output +90.12" in told
    charts = json.loads(re.findall(r'id="chart-data">(.*?)</script>', page, re.DOTALL)[0])
    assert [{"d": "2026-11-10", "a": 1}] in charts["project"]["spec"]["datasets"].values()


def test_a_month_is_compared_with_the_month_before(billed: Settings, tmp_path: Path) -> None:
    """A month that is over is told whole; one that is under way is set against as many days of the one before."""
    done, page = written(billed, tmp_path, month="2026-10")
    assert (done.first_day, done.last_day) == ("2026-10-01", "2026-10-31")
    assert "against 1 to 30 Sep 2026." in page
    assert "The month is over and cost $395.25. The budget was $500.00: $104.75 of it was left." in plain(page)
    period = choose_period("2026-11", None, AS_OF, FIRST)
    assert (str(period.window), str(period.before)) == ("2026-11-01..2026-11-20", "2026-10-01..2026-10-20")
    march = choose_period("2026-03", None, date(2026, 3, 30), None)
    assert str(march.before) == "2026-02-01..2026-03-01"


def test_the_days_begin_with_the_first_known_one(billed: Settings, tmp_path: Path) -> None:
    """What nobody has read is not shown as free of cost; and nothing earlier is there to compare with."""
    done, page = written(billed, tmp_path, last=366)
    assert (done.first_day, done.last_day) == ("2026-09-01", "2026-11-19")
    assert "There is nothing earlier to compare with." in page
    assert "No cost is known of 2024-11-18..2025-11-19: run" in plain(section(page, "changes"))
    assert "where the service has bills of these days." in plain(section(page, "changes")), "a year back it has none"
    one = choose_period(None, 1, AS_OF, FIRST)
    assert one.days == [AS_OF]
    assert one.month == date(2026, 11, 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"month": "2026-10", "last": 3}, "exclude each other"),
        ({"last": 0}, "choose 1 to 366 days"),
        ({"month": "october"}, "is not a month"),
        ({"month": "2026-12"}, "has no closed day yet: the last one is 2026-11-19"),
        ({"currency": "gbp"}, "nothing was billed in 'gbp' in these days: --currency usd or eur"),
    ],
)
def test_a_wrong_question_is_an_error_with_the_way_out(
    billed: Settings, tmp_path: Path, wrong: dict[str, Any], says: str
) -> None:
    """Nothing is written, and the message says what to ask for."""
    with pytest.raises(FixConfig, match=says):
        written(billed, tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_currencies_are_never_added(billed: Settings, tmp_path: Path) -> None:
    """One is told, the others are named with their amounts and the option that tells them."""
    _, page = written(billed, tmp_path)
    assert "7.00 EUR" in plain(page)
    assert "--currency eur" in plain(page)
    _, euros = written(billed, tmp_path, currency="eur")
    assert sums(section(euros, "cost"))[0] == [Decimal(7), Decimal(7)]
    assert "$" not in plain(section(euros, "spenders"))


def test_nothing_billed_is_told_as_such(data_dir: Path, tmp_path: Path) -> None:
    """A warehouse without a single bill gives a page that says what is missing and how to get it."""
    settings = played_settings(data_dir)
    Played(NOW).sync(settings, last_days(3), "embeddings")
    done, page = written(settings, tmp_path)
    assert [(one.id, one.value) for one in done.figures] == [("period", "$0.00"), ("month", "not yet")]
    assert done.trust[0].value == "never read"
    assert "usage-pipeline sync" in page
    assert 'id="cost"' not in page


def test_without_a_warehouse_the_way_out_is_said(data_dir: Path) -> None:
    """Nothing published is no report but an error."""
    with pytest.raises(FixConfig, match="run `usage-pipeline sync`"):
        write_report(played_settings(data_dir), now=NOW)


def test_a_file_that_cannot_be_written_leaves_the_old_one(billed: Settings, tmp_path: Path) -> None:
    """A folder that is absent is named; and a link planted in the exports is not followed."""
    with pytest.raises(LakeUnwritable, match="No such file or directory"):
        write_report(billed, now=NOW, output=tmp_path / "absent" / "report.html")
    bills = Bills(tmp_path / "data")
    bills.bill(AS_OF, 1)
    settings = bills.sync(AS_OF, END)
    (settings.data_dir / "exports").symlink_to(tmp_path)
    with pytest.raises(LakeUnwritable, match="symbolic link"):
        write_report(settings, now=NOW)


def test_the_policy_allows_the_files_own_scripts_alone(billed: Settings, tmp_path: Path) -> None:
    """It stands before anything else in the head, allows by hash, and nothing unsafe."""
    _, page = written(billed, tmp_path)
    policy = unescape(re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)[0])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.search(r'(?:src|href)="(?!#)', page.replace("<script", "").split("chart-data")[0])


def test_the_command_says_where_it_is(billed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path on stdout, the headline beside it; --json has all of it; --open hands it to the browser."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(billed.data_dir))
    with time_machine.travel(NOW + timedelta(hours=1), tick=False):
        done = CliRunner().invoke(app, ["report", "--open"])
        as_json = CliRunner().invoke(app, ["report", "--month", "2026-10", "--json"])
    assert done.exit_code == 0, done.output
    path = billed.data_dir / "exports" / "report.html"
    assert done.stdout == f"{path}\n"
    assert "Budget: $500.00, within budget" in done.stderr
    assert opened == [path.resolve().as_uri()]
    told = json.loads(as_json.stdout)
    assert told["path"].endswith("exports/report-2026-10.html")
    assert told["figures"][0]["exact"] == "395.25"
    assert path.stat().st_size == len(path.read_bytes()) > 500_000
