"""Measure what stored history costs a new day: the whole `usage-pipeline sync` of a day of minutes, marts included.

    uv run python -m usage_pipeline_tests.benchmarks.history [--million 0 5 ...] [--groups 100]

The same three syncs of one day (new, unchanged, every row restated) with so many million rows of earlier days stored.
Put the sequence here; storing the history is stored.py's.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.benchmarks.contenders import CONTENDERS, OURS, environment_of, python_of
from usage_pipeline_tests.benchmarks.measure import Cost, cost_of
from usage_pipeline_tests.benchmarks.serving import serving_minutes
from usage_pipeline_tests.benchmarks.stored import days_before, read_day, store_days
from usage_pipeline_tests.benchmarks.table import Row, run
from usage_pipeline_tests.benchmarks.work import Work


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table: the first number of stored rows is what the others are compared with."""
    work = Work(groups=asked.groups, days=1, last_day=datetime.now(UTC).date() - timedelta(days=2))
    first: dict[str, Cost] = {}
    with serving_minutes(asked.groups) as base, serving_minutes(asked.groups, "1") as restated:
        for million in asked.million:
            with tempfile.TemporaryDirectory() as made:
                folder, began = Path(made), time.monotonic()
                days = round(million * 1e6 / work.rows)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # peaks are inherited
                    apart.submit(_fill, folder, base, work, days).result()
                took = time.monotonic() - began
                for which, served in (("new day", base), ("again, unchanged", base), ("restated", restated)):
                    command = CONTENDERS[OURS].command(python_of(CONTENDERS[OURS], folder), served, work, folder)
                    cost = cost_of(command, env=environment_of(served, folder), cwd=folder)
                    first.setdefault(which, cost)
                    yield {
                        "rows stored": days * work.rows, "filled in s": round(took), "sync of a day": which,
                        **cost.columns(), **cost.times(first[which]), "goal, ratio": 1.2,
                    }  # fmt: skip


def _fill(folder: Path, base: str, work: Work, days: int) -> None:
    """Store so many days before the work's, marts included."""
    if not days:
        return
    settings = Settings(_env_file=None, **environment_of(base, folder))
    day = read_day(settings, ENDPOINTS["completions"], work.last_day)
    store_days(settings, day, days_before(work.last_day, days))
    refresh(settings)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--million", type=float, nargs="+", default=[0, 5], help="rows stored before the day")
    parser.add_argument("--groups", type=int, default=100, help="rows of each minute (100: 144,000 rows a day)")


if __name__ == "__main__":
    run("history", __doc__, measure, _add_options)
