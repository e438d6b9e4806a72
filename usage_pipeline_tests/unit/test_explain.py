"""Explaining a change: numbers that add up, sentences for managers, and what is not known."""

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.errors import FixConfig
from usage_pipeline.explain import Explanation, caveats, explain, parse_window, sentences
from usage_pipeline.name_lists import NAME_LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
from usage_pipeline_tests.daily_bills import Bills
from usage_pipeline_tests.unit.test_cli import assert_one_line, env, run
from usage_pipeline_tests.world import World, last_days, rows

pytestmark = pytest.mark.marts("budget_status", "cost_drivers_daily")

FIRST, MIDDLE, END = date(2026, 11, 2), date(2026, 11, 5), date(2026, 11, 8)
BEFORE, AFTER = Window.of_days(FIRST, MIDDLE), Window.of_days(MIDDLE, END)


@pytest.fixture
def bills(data_dir: Path) -> Bills:
    """Three days before and three after: project p uses more and dearer, q is new, r is gone."""
    found = Bills(data_dir)
    found.bill_days(FIRST, MIDDLE, "1.10", quantity=100)
    found.bill_days(MIDDLE, END, "3.30", quantity=150)
    found.bill_days(MIDDLE, END, "0.5", quantity=5, project_id="q")
    found.bill(FIRST, "0.30", quantity=3, project_id="r")
    return found


def _explain(settings: Settings, first: Window = BEFORE, second: Window = AFTER, **more: Any) -> Explanation:
    return explain(settings, first, second, **{"by": "project", "currency": "usd", **more})


def test_effects_are_those_of_the_bill(bills: Bills) -> None:
    """Volume at the old price, price at the new quantity, new and gone whole; all of it the change of the bill."""
    found = _explain(bills.sync(FIRST, END))
    effects = {one.item: {k: v for k, v in one.effects.items() if v} for one in found.in_total.items}
    assert effects == {
        "p": {"volume": Decimal("1.65"), "price": Decimal("4.95")},
        "q": {"new": Decimal("1.5")},
        "r": {"gone": Decimal("-0.3")},
    }
    assert found.in_total.total.change == Decimal("7.8")


def test_sentences_say_it_in_words(bills: Bills) -> None:
    """The whole first, then the largest; each with why, and the line item behind it."""
    told = sentences(_explain(bills.sync(FIRST, END)))
    assert told[0] == (
        "In all: +$7.80 (from $3.60 to $11.40), because of higher prices (+$4.95), more usage (+$1.65), "
        "projects with no cost before (+$1.50) and projects with no cost any more (-$0.30)."
    )
    assert told[1] == (
        "p: +$6.60 (from $3.30 to $9.90), because of higher prices (+$4.95) and more tokens (+$1.65); "
        "most in gpt-5, output (+$6.60)."
    )


def test_windows_that_overlap_count_the_shared_days_in_both(bills: Bills) -> None:
    """Each side is the bill of its own window, also where the windows share days or are the same."""
    settings = bills.sync(FIRST, END)
    query = "select sum(amount) from usage.costs where date >= $a and date < $b"
    shifted = Window.of_days(FIRST + timedelta(days=1), END)
    for first, second in ((BEFORE, shifted), (shifted, BEFORE), (shifted, shifted), (BEFORE, AFTER)):
        found = _explain(settings, first, second)
        for window, amount in ((first, found.in_total.total.before), (second, found.in_total.total.after)):
            bounds = {"a": window.start.date(), "b": window.end.date()}
            assert rows(settings, query, bounds) == [(amount,)]
    assert _explain(settings, shifted, shifted).in_total.total.change == 0


def test_a_credit_is_told_as_one_and_is_no_new_project(bills: Bills) -> None:
    """Money given back is an effect of its own: neither less usage nor somebody who is new."""
    bills.bill(MIDDLE, "-2", project_id=None, line_item="credit adjustment")
    bills.bill(MIDDLE, "-1", line_item="credit adjustment")
    found = _explain(bills.sync(FIRST, END))
    assert {one.item: one.effects["credits"] for one in found.in_total.items} == {"p": -1, None: -2, "q": 0, "r": 0}
    told = sentences(found)
    assert "larger credits (-$3.00)" in told[0]
    assert "(no project): -$2.00 (from $0.00 to -$2.00), because of larger credits (-$2.00)" in told[2]


def test_days_with_an_empty_bill_are_named(bills: Bills) -> None:
    """A window whose bill is empty makes everything look new: the reader is told why."""
    settings = bills.sync(FIRST - timedelta(days=1), END)
    found = _explain(settings, Window.of_days(FIRST - timedelta(days=1), FIRST), Window.of_days(FIRST, MIDDLE))
    assert "2026-11-01: the bill of these days is empty." in caveats(found)


def test_by_model_and_key(bills: Bills) -> None:
    """The same change, by another dimension; what the bill does not tell is an item of its own."""
    settings = bills.sync(FIRST, END)
    assert [one.item for one in _explain(settings, by="model").in_total.items] == ["gpt-5"]
    assert [one.item for one in _explain(settings, by="api_key").in_total.items] == [None]
    with pytest.raises(FixConfig, match="--by 'team': choose project, model, api_key, user"):
        _explain(settings, by="team")


def test_quantities_without_a_unit_are_added_within_a_line_alone(data_dir: Path) -> None:
    """More searches and fewer sessions are two volumes, at the price of each; no unit is put to their numbers."""
    bills = Bills(data_dir)
    for day, searches, sessions in ((FIRST, 100, 10), (MIDDLE, 200, 5)):
        bills.bill(day, searches, quantity=searches, quantity_unit=None, line_item="web search tool calls")
        bills.bill(day, 3 * sessions, quantity=sessions, quantity_unit=None, line_item="code interpreter")
    found = _explain(bills.sync(FIRST, END))
    (one,) = found.in_total.items
    assert {name: effect for name, effect in one.effects.items() if effect} == {"volume": Decimal(85)}
    assert "because of more usage (+$85.00)" in sentences(found)[1]


def test_windows_of_other_lengths_are_told_per_day(bills: Bills) -> None:
    """Two days against three: the totals are there, the sentences compare average days, and the note says so."""
    found = _explain(bills.sync(FIRST, END), second=Window.of_days(MIDDLE, END - timedelta(days=1)))
    assert found.is_per_day
    assert found.in_total.total.change == Decimal("4.0")
    assert found.a_day.total.after == Decimal("3.8")
    assert sentences(found)[0].startswith("In all: +$2.60 a day (from $1.20 to $3.80)")
    assert any("3 and 2 known days" in line for line in caveats(found))


def test_days_nobody_read_are_named(bills: Bills) -> None:
    """A window partly unsynced is compared per known day, with its missing days and the command that reads them."""
    found = _explain(bills.sync(FIRST, END - timedelta(days=1)))
    assert found.missing == ((), (date(2026, 11, 7),))
    assert found.known_days == (3, 2)
    assert "1 of the 3 days of 2026-11-05..2026-11-08 are not known (2026-11-07)" in caveats(found)[0]
    assert "usage-pipeline sync --since 2026-11-05 --until 2026-11-08 --endpoint costs" in caveats(found)[0]
    with pytest.raises(FixConfig, match=r"no cost is known of 2026-10-01\.\.2026-11-01.*sync --since 2026-10-01"):
        _explain(bills.settings, first=parse_window("2026-10", "--from"))


def test_an_open_day_is_pointed_out(data_dir: Path) -> None:
    """A day whose bill may still grow is named."""
    bills = Bills(data_dir)
    bills.bill_days(date(2026, 11, 17), date(2026, 11, 21), 1, quantity=1)
    settings = bills.sync(date(2026, 11, 17), date(2026, 11, 21))
    found = _explain(settings, parse_window("2026-11-18", "--from"), parse_window("2026-11-20", "--to"))
    assert found.still_open == (date(2026, 11, 20),)


def test_currencies_are_not_added(bills: Bills) -> None:
    """Another currency is told of and asked for by name; one that is not billed is refused."""
    bills.bill(MIDDLE, "9", currency="eur")
    settings = bills.sync(FIRST, END)
    found = _explain(settings)
    assert found.in_total.total.change == Decimal("7.8")
    assert "--currency eur" in caveats(found)[-1]
    assert sentences(_explain(settings, currency="eur"))[0].startswith("In all: +9.00 EUR (from 0.00 EUR")
    with pytest.raises(FixConfig, match="'gbp': --currency eur or usd"):
        _explain(settings, currency="gbp")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-01..2026-10-08", "2026-10-01..2026-10-08"),
        ("2026-02", "2026-02-01..2026-03-01"),
        ("2026-12", "2026-12-01..2027-01-01"),
        ("2026-10-31", "2026-10-31..2026-11-01"),
    ],
)
def test_windows_are_written_as_days_or_months(text: str, expected: str) -> None:
    """A window, a month or a day."""
    assert str(parse_window(text, "--from")) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13", "2026-10-32", "..", "2026-10-08..2026-10-01"])
def test_other_windows_are_refused(text: str) -> None:
    """What is no window is refused with the form to write."""
    with pytest.raises(FixConfig, match=r"2026-"):
        parse_window(text, "--from")


@pytest.mark.slow
@pytest.mark.parametrize("by", ["project", "model", "api_key", "user"])
def test_a_simulated_fortnight_adds_up_to_the_bill(
    still_world: World, settings: Settings, tmp_path: Path, by: str
) -> None:
    """From the command line as JSON: every item's effects add up, and the total is the bill's own difference."""
    still_world.sync(settings, last_days(14), ["costs", "completions"])
    result = run(
        *("explain", "--from", "2026-11-08..2026-11-13", "--to", "2026-11-14..2026-11-19", "--by", by, "--json"),
        cwd=tmp_path,
        **env(settings),
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    query = "select sum(amount) from usage.costs where date >= $a and date < $b"
    for side, key in (("from", "before"), ("to", "after")):
        bounds = {"a": found[side]["first_day"], "b": found[side]["end_day"]}
        assert Decimal(found["in_total"][key]) == rows(settings, query, bounds)[0][0]
    for compared in (found["in_total"], found["per_day"]):
        for one in [compared, *compared["items"]]:
            assert sum(map(Decimal, one["effects"].values())) == Decimal(one["change"])


def test_names_are_shown_beside_ids(still_world: World, settings: Settings) -> None:
    """Where the lists of names were read, a project is told by its last name; a key without one by its id."""
    still_world.sync(settings, last_days(6), ["costs"], lists=list(NAME_LISTS.values()))
    found = _explain(settings, parse_window("2026-11-16", "--from"), parse_window("2026-11-18", "--to"))
    named = dict(rows(settings, "select id, arg_max(name, valid_from) from dims.projects group by id"))
    for one in found.in_total.items:
        if one.item is not None:
            assert f"{named[one.item]} ({one.item}): " in "\n".join(sentences(found))


def test_the_command_prints_a_table_and_sentences(bills: Bills, tmp_path: Path) -> None:
    """On a terminal: the windows, a table and the sentences; errors are one line and exit 2."""
    settings = bills.sync(FIRST, END)
    arguments = ("explain", "--from", "2026-11-02..2026-11-05", "--to", "2026-11-05..2026-11-08")
    result = run(*arguments, cwd=tmp_path, **env(settings))
    assert result.returncode == 0, result.stderr
    assert "2026-11-05..2026-11-08 (3 days) against 2026-11-02..2026-11-05 (3 days)" in result.stdout
    assert "p: +$6.60" in result.stdout
    assert_one_line(run(*arguments, "--by", "team", cwd=tmp_path, **env(settings)), "--by 'team'", 2)
