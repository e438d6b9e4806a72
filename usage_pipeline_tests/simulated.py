"""A simulated organization at a fixed moment, for the tests of the server and of the simulator itself.

Put helpers that ask the organization or its server here; no test and no assertion.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from usage_pipeline.api.query import page_bounds, parse_query
from usage_pipeline.endpoints import ENDPOINTS, BucketWidth
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.windows import DAY_SECONDS, WIDTH_SECONDS, day_start

KEY = "sk-admin-simulated"
NOW = datetime(2026, 11, 15, 13, 37, 21, tzinfo=UTC)
SETTLED_DAY = date(2026, 11, 4)  # a Wednesday long past every restatement, with rows at every endpoint
SEED = 7

Row = dict[str, Any]


def organization(now: datetime = NOW, seed: int = SEED) -> Organization:
    """An organization that stands still at a moment; `.clock.set` moves it."""
    return Organization(seed, VirtualClock(now))


def day_of(moment: date) -> int:
    """Unix seconds of the midnight that begins a day."""
    return int(day_start(moment).timestamp())


def buckets_of(
    source: Organization,
    name: str,
    day: date,
    *,
    group_by: Iterable[str] | None = None,
    width: BucketWidth = "1d",
    filters: Iterable[tuple[str, str]] = (),
) -> list[list[Row]]:
    """The rows of each bucket of one day, grouped by every dimension unless told otherwise."""
    endpoint = ENDPOINTS[name]
    groups = endpoint.dimension_names if group_by is None else group_by
    start = day_of(day)
    parameters = [("start_time", str(start)), ("end_time", str(start + DAY_SECONDS)), ("bucket_width", width)]
    parameters += [("limit", str(DAY_SECONDS // WIDTH_SECONDS[width]))] + [("group_by[]", name) for name in groups]
    query = parse_query(endpoint, [*parameters, *filters])
    bounds, _ = page_bounds(query, int(source.now().timestamp()))
    return source.results(query, bounds)


def rows_of(source: Organization, name: str, day: date, **how: Any) -> list[Row]:
    """The rows of all buckets of one day."""
    return [row for rows in buckets_of(source, name, day, **how) for row in rows]


def total(rows: Iterable[Row], measure: str) -> Any:
    """The sum of a measure, absent and null counting as nothing."""
    return sum(row.get(measure) or 0 for row in rows)
