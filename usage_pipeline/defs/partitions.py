"""Dagster's daily partitions and our windows: how one becomes the other.

Put the translation here; arithmetic on windows is windows.py's.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.errors import FixConfig
from usage_pipeline.windows import Window, day_start, parse_day

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
_ONE = "dagster/partition"


def daily_partitions(first: date) -> dg.DailyPartitionsDefinition:
    """Days in UTC from the first, today included: the open day is read too, and read again until it settles."""
    return dg.DailyPartitionsDefinition(start_date=day_start(first), timezone="UTC", end_offset=1)


def range_tags(window: Window) -> dict[str, str]:
    """The run tags that ask for a window's days in one run."""
    days = window.dates()
    return {RANGE_START: days[0].isoformat(), RANGE_END: days[-1].isoformat()}


def window_of(tags: Mapping[str, str]) -> Window | None:
    """The days a run was asked for, as one window; None for a run without partitions (a check run by itself)."""
    first = tags.get(RANGE_START) or tags.get(_ONE)
    last = tags.get(RANGE_END) or first
    if first is None or last is None:
        return None
    return Window.of_days(parse_day(first), parse_day(last) + timedelta(days=1))


def asset_window(context: dg.AssetExecutionContext) -> Window:
    """The days the step is to bring.

    Raises:
        FixConfig: the run names no partition.
    """
    window = window_of(context.run.tags)
    if window is None:
        raise FixConfig("the run names no partition: choose the days to materialize.")
    return window


def tell_newest(context: dg.AssetExecutionContext, window: Window, facts: Mapping[str, Any]) -> None:
    """What is large, for the newest day alone: what a step returns is stored once more for each day of its window."""
    context.add_asset_metadata(facts, partition_key=window.dates()[-1].isoformat())


def usage_key(name: str) -> dg.AssetKey:
    """An endpoint's asset."""
    return dg.AssetKey(["usage", name])


def dim_key(name: str) -> dg.AssetKey:
    """The asset of a list of names."""
    return dg.AssetKey(["dims", name])


def mart_key(name: str) -> dg.AssetKey:
    """A mart's asset."""
    return dg.AssetKey(["marts", name])


def read_here(context: dg.AssetExecutionContext) -> list[Endpoint]:
    """The endpoints whose steps this process is to run, in the table's order.

    In the in-process executor these are all the run's (less what a re-execution leaves out); where every step has a
    process of its own, the plan there holds that step alone.
    """
    planned = set(context.get_step_execution_context().execution_plan.step_keys_to_execute)
    return [endpoint for name, endpoint in ENDPOINTS.items() if usage_key(name).to_python_identifier() in planned]
