"""Measure publishing and asking with a long history: so many days of all twelve endpoints at 1d.

    uv run python -m usage_pipeline_tests.benchmarks.publish [--days 1000] [--at-once 31]

A made-up organization's days are synced, so many in a commit, and one more day after them; then what a refresh of the
warehouse takes, part by part, and what opening the published file and asking it take. Put the sequence here.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
from usage_pipeline_tests.benchmarks.measure import Cost, Laps
from usage_pipeline_tests.benchmarks.parts import PUBLISHING, refreshed, synced
from usage_pipeline_tests.benchmarks.stored import days_before
from usage_pipeline_tests.benchmarks.table import Row, run
from usage_pipeline_tests.world import open_world

_NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
_YEAR = (
    "select project_id, model, sum(input_tokens), sum(num_model_requests) from usage.completions "
    "where date >= ? and date < ? group by all"
)


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    last = _NOW.date()
    days = days_before(last, asked.days)
    with tempfile.TemporaryDirectory() as made, open_world(now=_NOW) as world:
        settings = world.settings(Path(made) / "data", USAGE_PIPELINE_START_DATE=str(days[0]))
        for first in range(0, len(days), asked.at_once):
            chosen = days[first : first + asked.at_once]
            window = Window.of_days(chosen[0], chosen[-1] + timedelta(days=1))
            synced(world, settings, window, [] if first else list(LISTS.values()))
        more = synced(world, settings, Window.of_days(last, last + timedelta(days=1)))
        yield from _rows("one day more", more, asked.days)
        settings.warehouse_path.unlink()
        yield from _rows("the file is lost", refreshed(settings), asked.days)
        yield from _rows("nothing new", refreshed(settings), asked.days)
        yield from _rows("asking", _asked(settings, last), asked.days)


def _asked(settings: Settings, last: date) -> dict[str, Cost]:
    """Open the file, ask for a year of an endpoint, and ask again."""
    laps = Laps()
    laps.tell("opening the file and a year's group-by")
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        assert con.execute(_YEAR, [last - timedelta(days=365), last]).fetchall()
        laps.tell("the same query again, open")
        con.execute(_YEAR, [last - timedelta(days=365), last]).fetchall()
        laps.end()
    return laps.costs


def _rows(what: str, parts: Mapping[str, Cost], days: int) -> Iterator[Row]:
    goals = {PUBLISHING: 0.3, "opening the file and a year's group-by": 0.4}
    for part, cost in parts.items():
        yield {"days": days, "after": what, "part": part, **cost.columns(), "goal, wall s": goals.get(part, "")}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=31, help="days in a commit: 1 as daily runs store them")


if __name__ == "__main__":
    run("publish", __doc__, measure, _add_options)
