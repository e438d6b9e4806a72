"""Measure ourselves beside what others would run, in one go on one machine.

    uv run --group bench python -m usage_pipeline_tests.benchmarks [--groups 100] [--days 1] [--only NAME ...]

Each contender loads the work into an empty folder, then runs again unchanged; what it stored is compared with what was
served. Prints a table of ratios and writes JSON. Put the sequence here; what is run is contenders.py's.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline_tests.benchmarks.contenders import CONTENDERS, environment_of, python_of
from usage_pipeline_tests.benchmarks.measure import cost_of
from usage_pipeline_tests.benchmarks.work import Work

_US = "usage_pipeline"


@contextmanager
def serving(groups: int, *more: str) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, "-m", "usage_pipeline_tests.benchmarks.server", str(groups), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.terminate()


def expected(base: str, work: Work) -> dict[str, int]:
    """What the work adds up to, by the server."""
    with urlopen(base.removesuffix("/v1") + "/sums") as answer:  # noqa: S310 - our own server
        return {name: value * work.days for name, value in json.load(answer).items()}


def measure(name: str, base: str, work: Work, environments: Path, folder: Path) -> dict[str, Any]:
    """Load and run again; what each took, and whether the sums were right both times."""
    contender = CONTENDERS[name]
    python, wanted = python_of(contender, environments), expected(base, work)
    folder.mkdir(parents=True)
    found: dict[str, Any] = {}
    for run in ("load", "again"):
        command = contender.command(python, base, work, folder)
        cost = cost_of(command, env=environment_of(base, folder), cwd=folder)
        found[run] = {**cost.as_dict(), "is_right": contender.sums(folder) == wanted}
    return found


def measure_slow(seconds: float, folder: Path) -> dict[str, Any]:
    """A year of all endpoints at 1d from a service that takes its time: how long, against eight requests at a time."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = ["--since", str(last - timedelta(days=364)), "--until", str(last + timedelta(days=1))]
    endpoints = [word for name in ENDPOINTS for word in ("--endpoint", name)]
    folder.mkdir()
    with serving(1, "0", str(seconds)) as base:
        env = {**environment_of(base, folder), "USAGE_PIPELINE_BUCKET_WIDTH": "1d"}
        cost = cost_of([sys.executable, "-m", _US, "sync", *endpoints, *days], env=env, cwd=folder)
        with urlopen(base.removesuffix("/v1") + "/requests") as answer:  # noqa: S310 - our own server
            requests = json.load(answer)
    least = sum(-(-365 // row.page_limits["1d"].maximum) for row in ENDPOINTS.values())
    ratio = cost.wall_seconds / (requests * seconds / 8)
    return {**cost.as_dict(), "requests": requests, "least_requests": least, "wall_by_requests": round(ratio, 2)}


def print_table(results: dict[str, Any]) -> None:
    """The figures, and of each how many times ours it is."""
    titles = ("contender", "run", "wall s", "CPU s", "peak MiB", "wall / ours", "CPU / ours", "sums")
    rows = [titles]
    for name, runs in results.items():
        for run, cost in runs.items():
            ours = results.get(_US, {}).get(run)
            ratios = [f"{cost[key] / ours[key]:.2f}" if ours else "" for key in ("wall_seconds", "cpu_seconds")]
            figures = (f"{cost['wall_seconds']:.2f}", f"{cost['cpu_seconds']:.2f}", f"{cost['peak_mib']:.0f}")
            rows.append((name, run, *figures, *ratios, "right" if cost["is_right"] else "WRONG"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    for row in rows:
        sys.stdout.write("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + "\n")


def main() -> None:
    """Read the arguments, measure, print and write."""
    parser = argparse.ArgumentParser(prog="usage_pipeline_tests.benchmarks", description=__doc__)
    parser.add_argument("--groups", type=int, default=100, help="rows of each minute (100: 144,000 rows a day)")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--gzip", action="store_true", help="compress answers for those who ask")
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "usage_pipeline_benchmarks")
    parser.add_argument("--json", type=Path, default=Path(tempfile.gettempdir()) / "benchmarks.json")
    parser.add_argument("--slow", type=float, metavar="SECONDS", help="only a year at 1d, each answer after so long")
    asked = parser.parse_args()
    if asked.slow:
        with tempfile.TemporaryDirectory() as scratch:
            sys.stdout.write(json.dumps(measure_slow(asked.slow, Path(scratch) / "slow"), indent=1) + "\n")
        return
    work = Work(groups=asked.groups, days=asked.days, last_day=datetime.now(UTC).date() - timedelta(days=2))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch, serving(work.groups, *(["--gzip"] * asked.gzip)) as base:
        for name in asked.only:
            results[name] = measure(name, base, work, asked.environments, Path(scratch) / name)
            print_table({name: results[name]})
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": platform.platform(), "rows": work.rows}
    asked.json.write_text(json.dumps({**facts, "results": results}, indent=1), encoding="utf-8")
    sys.stdout.write(f"\n{work.rows:,} rows; written to {asked.json}\n")
    print_table(results)


if __name__ == "__main__":
    main()
