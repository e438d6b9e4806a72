"""What the served contract accepts and refuses, and which buckets a page holds."""

from dataclasses import replace
from typing import Any

import pytest

from usage_pipeline.api.cursor import write_cursor
from usage_pipeline.api.query import UsageQuery, check_availability, page_bounds, parse_query
from usage_pipeline.api.refusals import Refusal
from usage_pipeline.endpoints import ENDPOINTS, Endpoint

COMPLETIONS, COSTS, IMAGES = ENDPOINTS["completions"], ENDPOINTS["costs"], ENDPOINTS["images"]
MIDNIGHT = 1_793_750_400  # 2026-11-04
HOUR, DAY = 3600, 86400

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())


def parsed(endpoint: Endpoint, *parameters: tuple[str, Any], start: int = MIDNIGHT) -> UsageQuery:
    """The query of a start and further parameters."""
    return parse_query(endpoint, [("start_time", str(start)), *((name, str(value)) for name, value in parameters)])


def error_of(endpoint: Endpoint, *parameters: tuple[str, Any]) -> dict[str, Any]:
    """The error object a request without a start of its own is refused with."""
    with pytest.raises(Refusal) as refused:
        parse_query(endpoint, [(name, str(value)) for name, value in parameters])
    assert refused.value.status == 400
    return refused.value.body["error"]


START = ("start_time", MIDNIGHT)


@pytest.mark.parametrize(
    "encoded",
    [
        [("group_by[]", "model"), ("group_by[]", "project_id")],
        [("group_by", "model"), ("group_by", "project_id")],
        [("group_by", "model,project_id")],
    ],
    ids=["brackets", "repeated", "comma-joined"],
)
def test_three_encodings_of_a_list_are_one(encoded: list[tuple[str, str]]) -> None:
    """Bracketed, repeated and comma-joined lists mean the same, in the row's order."""
    assert parsed(COMPLETIONS, *encoded).group_by == ("project_id", "model")


@pytest.mark.parametrize("name", ["line_items", "line_items[]"])
def test_line_items_keep_their_commas(name: str) -> None:
    """A comma inside a line item never splits it, in any encoding."""
    assert parsed(COSTS, (name, "gpt-4o, input")).filters == {"line_item": frozenset({"gpt-4o, input"})}


def test_bracketed_values_are_never_split() -> None:
    """Only a lone plain value may be comma-joined: in brackets, a comma is part of the value."""
    assert parsed(IMAGES, ("models[]", "a,b")).filters == {"model": frozenset({"a,b"})}
    assert parsed(IMAGES, ("models", "a,b"), ("models", "c")).filters == {"model": frozenset({"a,b", "c"})}


def test_unknown_filter_values_are_no_error() -> None:
    """A size nobody ever heard of is a valid filter that matches nothing."""
    assert parsed(IMAGES, ("sizes", "7x7")).filters == {"size": frozenset({"7x7"})}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_flags_are_booleans(text: str, value: bool) -> None:
    """A flag's filter holds the boolean, not its text."""
    assert parsed(COMPLETIONS, ("batch", text)).filters == {"batch": frozenset({value})}


@each_endpoint
def test_defaults_come_from_the_row(endpoint: Endpoint) -> None:
    """Without a width it is a day, without a limit the row's default, without groups none."""
    query = parsed(endpoint)
    assert (query.bucket_width, query.limit) == ("1d", endpoint.page_limits["1d"].default)
    assert (query.group_by, query.filters, query.end_time) == ((), {}, None)


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ([], None, "invalid_request_error"),
        ([("start_time", "yesterday")], "start_time", "invalid_type"),
        ([("start_time", "1.5")], "start_time", "invalid_type"),
        ([("start_time", "1_000")], "start_time", "invalid_type"),
        ([("start_time", "9" * 5000)], "start_time", "invalid_type"),
        ([("start_time", "-1")], "start_time", "integer_below_min_value"),
        ([START, START], "start_time", "invalid_type"),
        ([START, ("end_time", "x")], "end_time", "invalid_type"),
        ([START, ("end_time", MIDNIGHT)], "end_time", "invalid_request_error"),
        ([START, ("limit", "0")], "limit", "integer_below_min_value"),
        ([START, ("limit", "many")], "limit", "invalid_type"),
        ([START, ("batch", "perhaps")], "batch", "invalid_type"),
        ([START, ("bucket_width", "1w")], "bucket_width", "invalid_value"),
        ([START, ("group_by", "")], "group_by", "invalid_value"),
        ([START, ("colour", "red")], "colour", "unknown_parameter"),
        ([START, ("line_items", "x")], "line_items", "unknown_parameter"),
        ([START, ("batch[]", "true")], "batch[]", "unknown_parameter"),
        ([START, ("page", "page_!")], None, "invalid_request_error"),
    ],
)
def test_what_is_refused(parameters: list[tuple[str, Any]], param: str | None, code: str) -> None:
    """Missing, unreadable, out of bounds or unknown: 400, naming the parameter."""
    error = error_of(COMPLETIONS, *parameters)
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_limit_above_the_maximum_says_the_maximum() -> None:
    """The refusal of too large a page is the captured text."""
    error = error_of(COSTS, START, ("limit", 366))
    assert error["message"] == "Invalid limit provided: 366. Limit must be less than or equal to 180."
    assert error["param"] is None


@each_endpoint
def test_bogus_group_lists_the_allowed(endpoint: Endpoint) -> None:
    """The message names the bad value and every good one, in the row's order."""
    listed = ", ".join(f"'{name}'" for name in endpoint.dimension_names)
    message = error_of(endpoint, START, ("group_by", "colour"))["message"]
    assert message == f"Invalid value: 'colour'. Supported values are: {listed}"


def test_costs_by_line_item_come_by_project_too() -> None:
    """Grouping costs by line item alone implies the project, as seen live; with another group it does not."""
    assert parsed(COSTS, ("group_by", "line_item")).group_by == ("project_id", "line_item")
    assert parsed(COSTS, ("group_by", "line_item,user_id")).group_by == ("user_id", "line_item")


def test_usage_buckets_are_cut_at_both_ends() -> None:
    """The first bucket starts at the odd second, the last ends at the asked end, those between are whole hours."""
    query = parsed(COMPLETIONS, ("bucket_width", "1h"), ("end_time", MIDNIGHT + 2 * HOUR + 7), start=MIDNIGHT + 5)
    bounds, next_start = page_bounds(query, MIDNIGHT + DAY)
    hours = [MIDNIGHT + n * HOUR for n in range(3)]
    assert bounds == [(hours[0] + 5, hours[1]), (hours[1], hours[2]), (hours[2], hours[2] + 7)]
    assert next_start is None


def test_costs_are_whole_days() -> None:
    """Costs floor the start to midnight and keep the end of the open day in the future."""
    bounds, _ = page_bounds(parsed(COSTS, start=MIDNIGHT + 5), MIDNIGHT + DAY + 60)
    assert bounds == [(MIDNIGHT, MIDNIGHT + DAY), (MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)]


@each_endpoint
def test_nothing_begins_at_or_after_now(endpoint: Endpoint) -> None:
    """The page ends before the bucket that begins right now, and a start in the future is an empty page."""
    bounds, next_start = page_bounds(parsed(endpoint), MIDNIGHT + DAY)
    assert (bounds, next_start) == ([(MIDNIGHT, MIDNIGHT + DAY)], None)
    assert page_bounds(parsed(endpoint), MIDNIGHT) == ([], None)


def test_an_end_in_the_future_is_cut_at_now() -> None:
    """Asking for the rest of the day gives usage until now and no hours to come."""
    query = parsed(COMPLETIONS, ("bucket_width", "1h"), ("end_time", MIDNIGHT + DAY))
    bounds, next_start = page_bounds(query, MIDNIGHT + HOUR + 90)
    assert bounds == [(MIDNIGHT, MIDNIGHT + HOUR), (MIDNIGHT + HOUR, MIDNIGHT + HOUR + 90)]
    assert next_start is None


def test_next_page_begins_where_this_one_ends() -> None:
    """A full page names the start of the following bucket, and the cursor leads there."""
    window = [("limit", 2), ("end_time", MIDNIGHT + 3 * DAY)]
    first = parsed(COMPLETIONS, *window)
    bounds, next_start = page_bounds(first, MIDNIGHT + 9 * DAY)
    assert (len(bounds), next_start) == (2, MIDNIGHT + 2 * DAY)
    cursor = write_cursor(MIDNIGHT, first.fingerprint, MIDNIGHT + 2 * DAY)
    second = parsed(COMPLETIONS, *window, ("page", cursor))
    assert page_bounds(second, MIDNIGHT + 9 * DAY) == ([(MIDNIGHT + 2 * DAY, MIDNIGHT + 3 * DAY)], None)


@pytest.mark.parametrize("next_start", [MIDNIGHT, MIDNIGHT - DAY, MIDNIGHT + DAY + 1])
def test_a_forged_cursor_is_refused(next_start: int) -> None:
    """A cursor that leads back, or between two buckets, was not made by this server."""
    forged = write_cursor(MIDNIGHT, parsed(COMPLETIONS).fingerprint, next_start)
    assert "page token is invalid" in error_of(COMPLETIONS, START, ("page", forged))["message"]


def test_history_is_limited_only_where_asked() -> None:
    """An organization with limited history refuses an older start by its code, and takes the oldest allowed one."""
    query, now = parsed(COMPLETIONS), MIDNIGHT + 366 * DAY
    check_availability(query, now, history_days=None, refuses_user_with_project=False)
    check_availability(query, now, history_days=366, refuses_user_with_project=False)
    with pytest.raises(Refusal) as refused:
        check_availability(query, now, history_days=365, refuses_user_with_project=False)
    assert refused.value.body["error"]["code"] == "reporting_lookback_exceeded"


@pytest.mark.parametrize(
    "parameters", [[("group_by", "user_id,project_id")], [("group_by", "user_id"), ("project_ids", "proj_a")]]
)
def test_user_with_project_is_refused_only_where_asked(parameters: list[tuple[str, str]]) -> None:
    """Costs by user with the project grouped or filtered are refused where the organization does, usage never."""
    query = parsed(COSTS, *parameters)
    check_availability(query, MIDNIGHT, history_days=None, refuses_user_with_project=False)
    usage = replace(query, endpoint=COMPLETIONS)
    check_availability(usage, MIDNIGHT, history_days=None, refuses_user_with_project=True)
    with pytest.raises(Refusal, match="user_id with project_id"):
        check_availability(query, MIDNIGHT, history_days=None, refuses_user_with_project=True)
