"""Measure the marts: one changed day against a full recompute, and that against one scan-and-group of the same rows.

    uv run python -m usage_pipeline_tests.benchmarks.marts [--days 365] [--million 1]

First so many days of a made-up organization's twelve endpoints at 1d, of which the last day then grows; then so many
million rows of completions at 1m. The marts alone are measured, not reading or publishing. Put the sequence here.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.store import Lake
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline_tests.benchmarks.contenders import environment_of
from usage_pipeline_tests.benchmarks.measure import Cost, Laps
from usage_pipeline_tests.benchmarks.parts import MARTS, refreshed, synced
from usage_pipeline_tests.benchmarks.serving import serving_minutes
from usage_pipeline_tests.benchmarks.stored import days_before, read_day, store_days
from usage_pipeline_tests.benchmarks.table import Row, run
from usage_pipeline_tests.benchmarks.work import Work
from usage_pipeline_tests.world import last_days, open_world

_NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_GROUPED = (
    "select date, project_id, model, sum(input_tokens), sum(output_tokens), sum(num_model_requests) "
    "from ({scan}) group by all"
)


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as made:
        yield from _days(Path(made) / "data", asked.days)
    with tempfile.TemporaryDirectory() as made:
        yield from _minutes(Path(made), asked.million, asked.groups)


def _days(data_dir: Path, count: int) -> Iterator[Row]:
    """A day of many that changed, and all of them; each was done before in this process."""
    today = last_days(1, _NOW.date())
    with open_world(now=_NOW) as world:
        settings = world.settings(data_dir)
        synced(world, settings, last_days(count, _NOW.date()), list(LISTS.values()))
        shutil.rmtree(settings.lake_dir / "marts")
        full = refreshed(settings)[MARTS]
        world.clock.set(_NOW + timedelta(hours=5))
        synced(world, settings, today)
        world.clock.set(_NOW + timedelta(hours=11))
        grown = synced(world, settings, today)[MARTS]
    for what, cost in (("full recompute", full), ("the last day grew", grown)):
        yield {"of": f"{count} days at 1d", "what": what, **cost.columns(), **cost.times(full), "goal, ratio": "0.05"}


def _minutes(folder: Path, million: float, groups: int) -> Iterator[Row]:
    """Many rows, read by every mart, and once by one query."""
    work = Work(groups=groups, days=1, last_day=_NOW.date())
    days = max(1, round(million * 1e6 / work.rows))
    with serving_minutes(groups) as base:
        settings = Settings(_env_file=None, **environment_of(base, folder))
        day = read_day(settings, ENDPOINTS["completions"], work.last_day)
    store_days(settings, day, days_before(work.last_day, days))
    full, scan = refreshed(settings)[MARTS], _scanned(settings)
    for what, cost in (("one scan-and-group", scan), ("full recompute", full)):
        of = f"{days * work.rows:,} rows at 1m"
        yield {"of": of, "what": what, **cost.columns(), **cost.times(scan), "goal, ratio": 3}


def _scanned(settings: Settings) -> Cost:
    """What one query over the rows costs, its files open."""
    table = Lake(settings.lake_dir).usage(ENDPOINTS["completions"])
    query = _GROUPED.format(scan=table.scan(table.open()))
    laps = Laps()
    with session() as con:
        con.execute(query).fetchall()
        laps.tell("scan")
        con.execute(query).fetchall()
        laps.end()
    return laps.costs["scan"]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--million", type=float, default=1)
    parser.add_argument("--groups", type=int, default=100, help="rows of each minute")


if __name__ == "__main__":
    run("marts", __doc__, measure, _add_options)
