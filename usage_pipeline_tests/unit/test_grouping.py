"""The grouping ladder: which refusal gives up what, and that every step gives up something."""

import itertools

import pytest

from usage_pipeline.api.error_answers import refusal
from usage_pipeline.api.grouping import Segment, floor_day, relent, split_at_floors
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import GroupingRefused, HistoryExceeded, RequestRefused
from usage_pipeline_tests.scripted import COMPLETIONS, COSTS, DAY, body, days

FLOOR = 1764979200  # 2025-12-06
AROUND = days("2025-12-01", "2025-12-11")
ALL = Segment(window=AROUND, group_by=COSTS.dimension_names)


def refused(dimension: str | None, floor: int | None = None) -> GroupingRefused:
    """A refusal of a grouping."""
    return GroupingRefused("costs 2025-12: no", dimension=dimension, floor=floor)


def bad_request(message: str, **fields: str) -> RequestRefused:
    """The error of a 400 with these words, for a request grouped by every cost dimension."""
    answer = body({"error": {"message": message, "code": "invalid_request_error"} | fields})
    error = refusal("costs 2025-12", 400, answer, key="sk-admin-x", group_by=COSTS.dimension_names)
    assert isinstance(error, RequestRefused)
    return error


def without(*names: str) -> tuple[str, ...]:
    """The cost dimensions without some."""
    return tuple(name for name in COSTS.dimension_names if name not in names)


def test_the_captured_floor_is_read() -> None:
    """The captured 400 names the dimension and the floor, although its param is start_time."""
    error = bad_request(
        "group_by=api_key_id is not available for this time range. Try a start_time on or after 1764979200.",
        param="start_time",
    )
    assert isinstance(error, GroupingRefused)
    assert (error.dimension, error.floor) == ("api_key_id", FLOOR)


@pytest.mark.parametrize(
    ("message", "param", "dimension"),
    [
        ("user_id cannot be combined with project_id.", "", None),
        ("Grouping by `user_id` is not supported for this organization.", "", "user_id"),
        ("Unsupported combination.", "group_by[]", None),
        ("This group_by combination is not supported.", "", None),
    ],
)
def test_other_grouping_refusals_are_recognised(message: str, param: str, dimension: str | None) -> None:
    """A 400 that speaks of grouping or of a grouped dimension is a refused grouping, naming it if it is one."""
    error = bad_request(message, param=param)
    assert isinstance(error, GroupingRefused)
    assert (error.dimension, error.floor) == (dimension, None)


def test_other_refusals_are_not_taken_for_groupings() -> None:
    """Refused times, limits, cursors and histories give up no dimension."""
    for message in ("Invalid type for 'start_time'.", "Invalid limit provided: 366.", "The page token is invalid, x"):
        assert type(bad_request(message)) is RequestRefused
    assert bad_request("The page token is invalid, have you modified the query parameters?").param == "page"
    assert type(bad_request("Too old.", code="reporting_lookback_exceeded")) is HistoryExceeded
    ungrouped = refusal("costs", 400, body({"error": {"message": "group_by is odd"}}), key="k")
    assert type(ungrouped) is RequestRefused


def test_a_floor_splits_the_window() -> None:
    """Before the floor the dimension is given up, from it on everything is kept; the note says so."""
    before, after = relent(COSTS, ALL, refused("api_key_id", FLOOR))
    assert (before.window, after.window) == (days("2025-12-01", "2025-12-06"), days("2025-12-06", "2025-12-11"))
    assert before.group_by == without("api_key_id")
    assert after.group_by == COSTS.dimension_names
    assert "not grouped by api_key_id before 2025-12-06" in before.notes[0]
    assert after.notes == ()


def test_a_floor_within_a_day_counts_from_the_next() -> None:
    """A floor is rounded up to a whole day: a day is grouped one way."""
    assert floor_day(refused("api_key_id", FLOOR)) == FLOOR
    assert floor_day(refused("api_key_id", FLOOR + 1)) == FLOOR + DAY
    before, _ = relent(COSTS, ALL, refused("api_key_id", FLOOR + 1))
    assert before.window == days("2025-12-01", "2025-12-07")


def test_a_floor_past_the_window_gives_the_dimension_up() -> None:
    """A window wholly before the floor is read without the dimension."""
    (only,) = relent(COSTS, ALL, refused("api_key_id", FLOOR + 900 * DAY))
    assert (only.window, only.group_by) == (AROUND, without("api_key_id"))


def test_a_floor_before_the_window_contradicts_itself() -> None:
    """A floor already respected cannot be the reason: the dimension itself is given up, so no loop arises."""
    (only,) = relent(COSTS, ALL, refused("api_key_id", AROUND.start_time))
    assert only.group_by == without("api_key_id")


def test_a_named_dimension_goes_first_then_the_ladder() -> None:
    """A named dimension that may go goes; else the next of the row's, the first to give up first."""
    assert relent(COSTS, ALL, refused("api_source"))[0].group_by == without("api_source")
    segment = ALL
    given_up = []
    for _ in COSTS.droppable:
        (segment,) = relent(COSTS, segment, refused(None))
        given_up.append(segment.notes[-1])
    assert segment.group_by == without(*COSTS.droppable)
    assert all(f"not grouped by {name}" in note for name, note in zip(COSTS.droppable, given_up, strict=True))
    with pytest.raises(GroupingRefused):
        relent(COSTS, segment, refused(None))


def test_a_dimension_that_explains_the_bill_stays() -> None:
    """A refusal that names project_id alone gives up the user, as the documented conflict wants."""
    assert relent(COSTS, ALL, refused("project_id"))[0].group_by == without("user_id")


def test_usage_gives_nothing_up() -> None:
    """An endpoint without droppable dimensions hands the refusal on."""
    segment = Segment(window=AROUND, group_by=COMPLETIONS.dimension_names)
    with pytest.raises(GroupingRefused):
        relent(COMPLETIONS, segment, refused("user_id"))


def test_floors_learned_before_split_the_window_at_once() -> None:
    """Two known floors make three parts, each with what its days can have, covering the window exactly."""
    floors = {"api_key_id": FLOOR, "user_id": FLOOR + 2 * DAY}
    parts = split_at_floors(ALL, floors)
    assert [part.group_by for part in parts] == [without("api_key_id", "user_id"), without("user_id"), without()]
    assert [(part.window.start, part.window.end) for part in parts] == list(
        itertools.pairwise([AROUND.start, *(part.window.end for part in parts)])
    )
    assert parts[-1].window.end == AROUND.end
    assert split_at_floors(ALL, {}) == [ALL]


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())
def test_every_step_gives_something_up(endpoint: object) -> None:
    """Whatever is refused, the parts cover the window and some part has fewer dimensions: the ladder ends."""
    row = next(e for e in ENDPOINTS.values() if e is endpoint)
    segment = Segment(window=AROUND, group_by=row.dimension_names)
    floors = (None, AROUND.start_time - 1, AROUND.start_time + 1, AROUND.end_time, FLOOR)
    for dimension, floor in itertools.product((*row.dimension_names, None, "unheard_of"), floors):
        try:
            parts = relent(row, segment, refused(dimension, floor))
        except GroupingRefused:
            continue
        assert parts[0].window.start == AROUND.start
        assert parts[-1].window.end == AROUND.end
        assert sum(len(part.group_by) for part in parts) < len(parts) * len(segment.group_by)
        assert parts[0].notes
