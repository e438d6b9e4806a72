"""The request side of the served contract: from query parameters to a validated query and its buckets' bounds.

Put what the service accepts and refuses here, derived from the endpoint's row; where answers come from is a
`BucketSource`, and how they are written is `usage_pipeline.api.encoding`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast

from usage_pipeline.api.cursor import fingerprint, read_cursor
from usage_pipeline.api.refusals import invalid_cursor, invalid_type, refusal, unsupported_value
from usage_pipeline.endpoints import BucketWidth, Endpoint
from usage_pipeline.windows import DAY_SECONDS, WIDTH_SECONDS

Bounds = tuple[int, int]
Parameters = Sequence[tuple[str, str]]

_SCALARS = ("start_time", "end_time", "bucket_width", "limit", "page")
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_FLAGS = {"true": True, "false": False}
_HOLDS_COMMAS = {"line_items"}  # values such as "gpt-4o, input": a comma never separates two of them
_IMPLIED_GROUPING: dict[tuple[str, ...], tuple[str, ...]] = {("line_item",): ("project_id", "line_item")}  # live
_GROUPING_FLOORS = {("costs", "api_key_id"): 1764979200}  # seen live: grouping refused before this start


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageQuery:
    """One validated request. `filters` maps a dimension to the values kept; `group_by` is in the row's order.

    `first_start` is where this page begins: the asked start, or the bucket the page cursor names.
    """

    endpoint: Endpoint
    start_time: int
    end_time: int | None
    bucket_width: BucketWidth
    limit: int
    group_by: tuple[str, ...]
    filters: Mapping[str, frozenset[str | bool]]
    first_start: int
    fingerprint: int


class BucketSource(Protocol):
    """Where buckets come from. The server asks it; it knows nothing of HTTP, pages or limits."""

    def now(self) -> datetime:
        """The source's present time, UTC: nothing that begins later is served."""

    def results(self, query: UsageQuery, bounds: Sequence[Bounds]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The rows of each of the given buckets, in the same order; an empty sequence for a quiet one.

        A row maps field names to values, flat: grouped dimensions, measures (money and quantities as exact
        Decimal), labels (`currency`), and undocumented extras. A measure left out is left out of the answer.
        """


def parse_query(endpoint: Endpoint, parameters: Parameters) -> UsageQuery:
    """The request, checked against the endpoint's row.

    Raises:
        Refusal: a parameter is missing, unknown, or outside what the row allows.
    """
    _check_names(endpoint, parameters)
    start_time = whole(parameters, "start_time")
    if start_time is None:
        raise refusal("Missing required parameter: 'start_time'.")
    end_time = whole(parameters, "end_time")
    if end_time is not None and end_time <= start_time:
        raise refusal("Invalid time range: 'end_time' must be after 'start_time'.", param="end_time")
    width = _bucket_width(endpoint, parameters)
    group_by = _group_by(endpoint, parameters)
    _check_floors(endpoint, group_by, start_time)
    own = fingerprint(endpoint.path, parameters)
    return UsageQuery(
        endpoint=endpoint,
        start_time=start_time,
        end_time=end_time,
        bucket_width=width,
        limit=_limit(endpoint, width, parameters),
        group_by=_IMPLIED_GROUPING.get(group_by, group_by) if endpoint.is_money else group_by,
        filters=_filters(endpoint, parameters),
        first_start=_first_start(endpoint, start_time, width, scalar(parameters, "page"), own),
        fingerprint=own,
    )


def page_bounds(query: UsageQuery, now: int) -> tuple[list[Bounds], int | None]:
    """The bounds of this page's buckets, and where the next page begins (None at the end).

    As the live service does: a usage bucket is cut at an unaligned start, at the asked end and at now, while costs
    come as whole days, the open one with its end in the future. No bucket begins at or after now.
    """
    width = WIDTH_SECONDS[query.bucket_width]
    end = now if query.end_time is None else min(query.end_time, now)
    bounds: list[Bounds] = []
    start = query.first_start
    while start < end and len(bounds) < query.limit:
        boundary = _floor(start, width) + width
        bounds.append((start, boundary if query.endpoint.is_money else min(boundary, end)))
        start = boundary
    return bounds, start if start < end else None


def check_availability(
    query: UsageQuery, now: int, *, history_days: int | None, refuses_user_with_project: bool
) -> None:
    """Refuse what some organizations may not ask: too old a start, or costs by user together with project.

    Raises:
        Refusal: the organization's rules forbid the query.
    """
    if history_days is not None and query.start_time < now - history_days * DAY_SECONDS:
        raise refusal(
            f"The requested start_time is more than {history_days} days ago.",
            param="start_time",
            code="reporting_lookback_exceeded",
        )
    has_project = "project_id" in query.group_by or "project_id" in query.filters
    if refuses_user_with_project and query.endpoint.is_money and "user_id" in query.group_by and has_project:
        raise refusal(
            "Combining user_id with project_id is not available for this organization and time range.",
            param="group_by",
        )


def _check_names(endpoint: Endpoint, parameters: Parameters) -> None:
    lists = {"group_by", *(name for name, d in endpoint.filters.items() if d.kind != "flag")}
    known = {*_SCALARS, *endpoint.filters, *lists, *(f"{name}[]" for name in lists)}
    for name, _ in parameters:
        if name not in known:
            raise refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def _first_start(endpoint: Endpoint, start_time: int, width: BucketWidth, cursor: str | None, own: int) -> int:
    """Where the page begins. Costs floor the start to midnight; a cursor names a later boundary."""
    asked = _floor(start_time, DAY_SECONDS) if endpoint.is_money else start_time
    if cursor is None:
        return asked
    named = read_cursor(cursor, own)
    if named <= asked or named % WIDTH_SECONDS[width]:
        raise invalid_cursor()
    return named


def scalar(parameters: Parameters, name: str) -> str | None:
    """The one value of a parameter, None where it is not given.

    Raises:
        Refusal: it is given twice.
    """
    values = [value for key, value in parameters if key == name]
    if len(values) > 1:
        raise invalid_type(name)
    return values[0] if values else None


def whole(parameters: Parameters, name: str, *, minimum: int = 0) -> int | None:
    """A whole number, None where it is not given.

    Raises:
        Refusal: it is not one, or below the minimum.
    """
    text = scalar(parameters, name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise invalid_type(name)
    if int(text) < minimum:
        raise refusal(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {minimum}, but got {text} instead.",
            param=name,
            code="integer_below_min_value",
        )
    return int(text)


def listed(parameters: Parameters, name: str) -> list[str]:
    """A list in any of its three encodings; only a lone plain value may be comma-joined."""
    plain = [value for key, value in parameters if key == name]
    if len(plain) == 1 and name not in _HOLDS_COMMAS:
        plain = plain[0].split(",")
    return plain + [value for key, value in parameters if key == f"{name}[]"]


def _bucket_width(endpoint: Endpoint, parameters: Parameters) -> BucketWidth:
    text = scalar(parameters, "bucket_width")
    if text is None:
        return "1d"
    if text not in endpoint.page_limits:
        raise unsupported_value("bucket_width", text, endpoint.page_limits)
    return cast(BucketWidth, text)


def _limit(endpoint: Endpoint, width: BucketWidth, parameters: Parameters) -> int:
    allowed = endpoint.page_limits[width]
    limit = whole(parameters, "limit", minimum=1)
    if limit is None:
        return allowed.default
    if limit > allowed.maximum:
        raise refusal(f"Invalid limit provided: {limit}. Limit must be less than or equal to {allowed.maximum}.")
    return limit


def _group_by(endpoint: Endpoint, parameters: Parameters) -> tuple[str, ...]:
    asked = listed(parameters, "group_by")
    for name in asked:
        if name not in endpoint.dimension_names:
            raise unsupported_value("group_by", name, endpoint.dimension_names)
    return tuple(name for name in endpoint.dimension_names if name in asked)


def _filters(endpoint: Endpoint, parameters: Parameters) -> dict[str, frozenset[str | bool]]:
    found: dict[str, frozenset[str | bool]] = {}
    for parameter, dimension in endpoint.filters.items():
        is_flag = dimension.kind == "flag"
        kept = _flag(parameters, parameter) if is_flag else frozenset(listed(parameters, parameter))
        if kept:
            found[dimension.name] = kept
    return found


def _flag(parameters: Parameters, name: str) -> frozenset[str | bool]:
    text = scalar(parameters, name)
    if text is None:
        return frozenset()
    if text not in _FLAGS:
        raise invalid_type(name)
    return frozenset({_FLAGS[text]})


def _check_floors(endpoint: Endpoint, group_by: tuple[str, ...], start_time: int) -> None:
    for dimension in group_by:
        floor = _GROUPING_FLOORS.get((endpoint.name, dimension), 0)
        if start_time < floor:
            raise refusal(
                f"group_by={dimension} is not available for this time range. Try a start_time on or after {floor}.",
                param="start_time",
            )


def _floor(moment: int, width: int) -> int:
    return moment - moment % width
