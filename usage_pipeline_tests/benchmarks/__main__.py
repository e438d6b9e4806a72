"""Measure ourselves beside what others would run, in one go on one machine.

    uv run --group bench python -m usage_pipeline_tests.benchmarks [--groups 100] [--days 1] [--only NAME ...]

Each contender loads the work into an empty folder, then runs again unchanged; what it stored is compared with what was
served. Put the sequence here; what is run is contenders.py's.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline_tests.benchmarks.contenders import CONTENDERS, OURS, environment_of, python_of
from usage_pipeline_tests.benchmarks.measure import Cost, cost_of
from usage_pipeline_tests.benchmarks.serving import serving_minutes
from usage_pipeline_tests.benchmarks.table import Row, run
from usage_pipeline_tests.benchmarks.work import Work


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as made:
        if asked.slow:
            yield measure_slow(asked.slow, Path(made))
            return
        work = Work(groups=asked.groups, days=asked.days, last_day=datetime.now(UTC).date() - timedelta(days=2))
        ours: dict[str, Cost] = {}
        keys = ["--keys", str(asked.keys), "--projects", str(asked.projects)] if asked.keys else []
        with serving_minutes(work.groups, *(["--gzip"] * asked.gzip), *keys) as base:
            wanted = expected(base, work)
            for name in asked.only:
                contender, folder = CONTENDERS[name], Path(made) / name
                folder.mkdir()
                command = contender.command(python_of(contender, asked.environments), base, work, folder)
                for which in ("load", "again"):
                    cost = cost_of(command, env=environment_of(base, folder), cwd=folder)
                    ours |= {which: cost} if name == OURS else {}
                    ratios = cost.times(ours[which]) if ours else {}
                    is_right = contender.sums(folder) == wanted
                    yield {
                        "contender": name, "run": which, "rows": work.rows, **cost.columns(), **ratios,
                        "sums": "right" if is_right else "WRONG",
                    }  # fmt: skip


def expected(base: str, work: Work) -> dict[str, int]:
    """What the work adds up to, by the server."""
    with urlopen(base.removesuffix("/v1") + "/sums") as answer:  # noqa: S310 - our own server
        return {name: value * work.days for name, value in json.load(answer).items()}


def measure_slow(seconds: float, folder: Path) -> Row:
    """A year of all endpoints at 1d from a service that takes its time: how long, against eight requests at a time."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = ["--since", str(last - timedelta(days=364)), "--until", str(last + timedelta(days=1))]
    endpoints = [word for name in ENDPOINTS for word in ("--endpoint", name)]
    with serving_minutes(1, "0", str(seconds)) as base:
        command = [sys.executable, "-m", OURS, "sync", *endpoints, *days]
        cost = cost_of(command, env=environment_of(base, folder, "1d"), cwd=folder)
        with urlopen(base.removesuffix("/v1") + "/requests") as answer:  # noqa: S310 - our own server
            requests = json.load(answer)
    least = sum(-(-365 // row.page_limits["1d"].maximum) for row in ENDPOINTS.values())
    ratio = cost.wall_seconds / (requests * seconds / 8)
    return {**cost.columns(), "requests": requests, "least requests": least, "wall / (requests / 8)": round(ratio, 2)}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--groups", type=int, default=100, help="rows of each minute (100: 144,000 rows a day)")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--keys", type=int, help="so many keys, of which each minute has rows of --groups")
    parser.add_argument("--projects", type=int, default=500, help="of which each key has one")
    parser.add_argument("--gzip", action="store_true", help="compress answers for those who ask")
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "usage_pipeline_benchmarks")
    parser.add_argument("--slow", type=float, metavar="SECONDS", help="only a year at 1d, each answer after so long")


if __name__ == "__main__":
    run("peers", __doc__, measure, _add_options)
