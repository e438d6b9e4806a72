"""Dagster's partitions and what they stand for: days, and where there are several organizations, whose days.

Put the translation here; arithmetic on windows is windows.py's. One organization's partitions are days. Those of
several are days x organizations: one asset graph however many there are, and a partitions page that shows who lacks
which day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_start, parse_day

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
ORGANIZATION = "organization"  # a dimension of the partitions, and what is told of a run, where there are several
ORGANIZATION_TAG = "usage_pipeline/organization"
_ONE = "dagster/partition"
_DATE = "date"  # the other dimension; first in a key, for Dagster sorts them by name: `2026-11-03|acme`
_SEPARATOR = "|"
_CHUNK_DAYS = 31  # what one request brings at the width of days


Partitions = dg.DailyPartitionsDefinition | dg.MultiPartitionsDefinition


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The partitions of every asset, and how a backfill of many of them is cut into runs."""

    partitions: Partitions
    policy: dg.BackfillPolicy


def spread_of(first: date, labels: Sequence[str] | None, *, is_shared: bool) -> Spread:
    """As `partitions_of`; a backfill is one run, or, where workers are to share it, a run for each month of days.

    Of several organizations it is not cut: Dagster would cut their days x organizations anywhere, and a run's first and
    last partition would no longer say which it is about. Each organization's run is one that workers share already.
    """
    is_cut = is_shared and labels is None
    policy = dg.BackfillPolicy.multi_run(_CHUNK_DAYS) if is_cut else dg.BackfillPolicy.single_run()
    return Spread(partitions=partitions_of(first, labels), policy=policy)


def daily_partitions(first: date) -> dg.DailyPartitionsDefinition:
    """Days in UTC from the first, today included: the open day is read too, and read again until it settles."""
    return dg.DailyPartitionsDefinition(start_date=day_start(first), timezone="UTC", end_offset=1)


def partitions_of(first: date, labels: Sequence[str] | None) -> Partitions:
    """The days from the first; with labels, each organization's."""
    days = daily_partitions(first)
    if labels is None:
        return days
    return dg.MultiPartitionsDefinition({_DATE: days, ORGANIZATION: dg.StaticPartitionsDefinition(list(labels))})


def partition_key(settings: Settings, day: date) -> str:
    """The partition of an organization's day."""
    return f"{day}{_SEPARATOR}{settings.organization}" if settings.is_one_of_several else day.isoformat()


def range_tags(window: Window, organization: str | None = None) -> dict[str, str]:
    """The run tags that ask for a window's days, of one of several organizations where one is named, in one run."""
    whose = "" if organization is None else f"{_SEPARATOR}{organization}"
    days = window.dates()
    tags = {RANGE_START: f"{days[0]}{whose}", RANGE_END: f"{days[-1]}{whose}"}
    return tags if organization is None else {**tags, ORGANIZATION_TAG: organization}


def window_of(tags: Mapping[str, str]) -> Window | None:
    """The days a run was asked for, as one window; None for a run without partitions (a check run by itself)."""
    first = tags.get(RANGE_START) or tags.get(_ONE)
    last = tags.get(RANGE_END) or first
    if first is None or last is None:
        return None
    return Window.of_days(_day(first), _day(last) + timedelta(days=1))


def members_of(tags: Mapping[str, str], members: Sequence[Settings]) -> list[Settings]:
    """The organizations a run was asked for: those of its partitions, else all.

    A backfill of fewer days than organizations comes as runs of a day and several of them.
    """
    labels = [one.organization for one in members]
    first = (tags.get(RANGE_START) or tags.get(_ONE, "")).partition(_SEPARATOR)[2]
    last = tags.get(RANGE_END, "").partition(_SEPARATOR)[2] or first
    if first not in labels or last not in labels:
        return list(members)
    return list(members[labels.index(first) : labels.index(last) + 1])


def _day(key: str) -> date:
    return parse_day(key.partition(_SEPARATOR)[0])


def asset_window(context: dg.AssetExecutionContext) -> Window:
    """The days the step is to bring.

    Raises:
        FixConfig: the run names no partition.
    """
    window = window_of(context.run.tags)
    if window is None:
        raise FixConfig("the run names no partition: choose the days to materialize.")
    return window


def tell_newest(
    context: dg.AssetExecutionContext, settings: Settings, window: Window, facts: Mapping[str, Any]
) -> None:
    """What is large, for the newest day alone: what a step returns is stored once more for each day of its window."""
    context.add_asset_metadata(facts, partition_key=partition_key(settings, window.dates()[-1]))


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
