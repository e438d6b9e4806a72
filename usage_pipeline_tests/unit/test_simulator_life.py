"""What time does to the simulated organization: late arrival, restatement, vanishing, emptied days, settling."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.simulator.events import NEVER, SETTLED_AFTER
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.windows import day_start, utc_moment
from usage_pipeline_tests.simulated import SEED, SETTLED_DAY, organization, rows_of, total

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())
DAYS = [SETTLED_DAY - timedelta(days=n) for n in range(60)]
COMPLETIONS = ENDPOINTS["completions"]


def at(source: Organization, moment: datetime) -> Organization:
    """The same organization at another moment."""
    return Organization(source.seed, lambda: moment)


def end_of(day: date) -> datetime:
    """The midnight that ends a day."""
    return day_start(day) + timedelta(days=1)


def sums_of(source: Organization, name: str, day: date, measure: str) -> dict[tuple[Any, ...], Any]:
    """A measure of a day by group key."""
    sums: dict[tuple[Any, ...], Any] = {}
    for row in rows_of(source, name, day):
        key = tuple(row[d] for d in ENDPOINTS[name].dimension_names)
        sums[key] = sums.get(key, 0) + row[measure]
    return sums


def emptied_days(source: Organization, endpoint: Endpoint) -> Iterator[date]:
    """Days of the last two months whose rows went missing for a time or for ever."""
    return (day for day in DAYS if source.fate(endpoint, day).emptied_at < NEVER)


def test_the_open_day_fills_up() -> None:
    """Through a day the counts climb, and what happened just now is not seen yet."""
    source = organization()
    seen = []
    for hour in range(1, 25):
        now = day_start(SETTLED_DAY) + timedelta(hours=hour)
        seen.append(total(rows_of(at(source, now), "completions", SETTLED_DAY, group_by=[]), "num_model_requests"))
    assert seen == sorted(seen)
    assert len(set(seen)) > 20


def test_usage_arrives_late() -> None:
    """A minute after midnight part of the day is still missing; hours and a day later more of it is there."""
    source = organization()
    requests = [
        total(rows_of(at(source, end_of(SETTLED_DAY) + late), "completions", SETTLED_DAY), "num_model_requests")
        for late in (timedelta(minutes=1), timedelta(hours=5), timedelta(hours=30))
    ]
    assert requests[0] < requests[1] < requests[2]


def test_costs_of_the_open_day_run_eight_hours_behind() -> None:
    """In the morning the open day's bill is empty; by evening it holds the morning's use, not the afternoon's."""
    source = organization()
    morning, evening = (day_start(SETTLED_DAY) + timedelta(hours=h) for h in (8, 20))
    assert rows_of(at(source, morning), "costs", SETTLED_DAY) == []
    by_evening = total(rows_of(at(source, evening), "costs", SETTLED_DAY, group_by=[]), "amount")
    settled = total(rows_of(source, "costs", SETTLED_DAY, group_by=[]), "amount")
    assert 0 < by_evening < settled


@pytest.mark.parametrize(("name", "measure"), [("completions", "input_tokens"), ("costs", "amount")])
def test_closed_days_are_restated_up_and_down_and_groups_vanish(name: str, measure: str) -> None:
    """Within a month some groups of closed days grow, some shrink, some go."""
    source, endpoint = organization(), ENDPOINTS[name]
    changes: list[Any] = []
    vanished = 0
    for day in DAYS[:30]:
        if source.fate(endpoint, day).emptied_at < NEVER:
            continue
        before = sums_of(at(source, end_of(day) + timedelta(hours=40)), name, day, measure)
        after = sums_of(source, name, day, measure)
        vanished += len(before.keys() - after.keys())
        changes += [after[key] - before[key] for key in before.keys() & after.keys()]
    assert sum(change > 0 for change in changes) >= 5
    assert sum(change < 0 for change in changes) >= 5
    assert sum(change == 0 for change in changes) > len(changes) / 2
    assert vanished >= 5


@each_endpoint
def test_nothing_changes_once_settled(endpoint: Endpoint) -> None:
    """A week after its end a day says what it will say for ever."""
    source = organization()
    for day in DAYS[:25]:
        settled = at(source, end_of(day) + SETTLED_AFTER)
        assert rows_of(settled, endpoint.name, day) == rows_of(at(source, utc_moment(2**32)), endpoint.name, day)


def test_days_are_still_changing_close_to_the_end_of_settling() -> None:
    """Settling takes days, not hours: some day still changes four days after its end."""
    source = organization()
    after_four = [rows_of(at(source, end_of(day) + timedelta(days=4)), "completions", day) for day in DAYS]
    assert after_four != [rows_of(source, "completions", day) for day in DAYS]


def test_some_days_are_emptied_and_some_come_back() -> None:
    """A closed day can lose all its rows; one comes back whole, another stays empty."""
    source = organization()
    restored, lost = [], []
    for endpoint in ENDPOINTS.values():
        for day in emptied_days(source, endpoint):
            fate = source.fate(endpoint, day)
            just_before = at(source, utc_moment(fate.emptied_at - 1))
            assert rows_of(just_before, endpoint.name, day)
            assert rows_of(at(source, utc_moment(fate.emptied_at)), endpoint.name, day) == []
            (restored if rows_of(source, endpoint.name, day) else lost).append((endpoint.name, day))
    assert restored
    assert lost


def test_money_can_outlive_usage() -> None:
    """A day whose usage was lost keeps its costs: the two may not reconcile."""
    source = organization()
    lost = [day for day in emptied_days(source, COMPLETIONS) if not rows_of(source, "completions", day)]
    assert lost
    for day in lost:
        lines = {row["line_item"] for row in rows_of(source, "costs", day, group_by=["line_item"])}
        assert "gpt-4o-2024-08-06, input" in lines


def test_some_days_nothing_was_used_at_all() -> None:
    """Quiet days are empty from the beginning."""
    source = organization()
    quiet = [day for day in DAYS if source.fate(COMPLETIONS, day).is_quiet]
    assert quiet
    assert all(rows_of(at(source, end_of(day)), "completions", day) == [] for day in quiet)


def test_a_clock_that_goes_on_shows_the_later_state() -> None:
    """Moving the clock of one organization is the same as meeting another at the later time: no state is kept."""
    moment = [day_start(SETTLED_DAY) + timedelta(hours=9)]
    moving = Organization(SEED, lambda: moment[0])
    first = rows_of(moving, "completions", SETTLED_DAY)
    moment[0] += timedelta(hours=9)
    later = rows_of(moving, "completions", SETTLED_DAY)
    assert first != later == rows_of(at(moving, moment[0]), "completions", SETTLED_DAY)
