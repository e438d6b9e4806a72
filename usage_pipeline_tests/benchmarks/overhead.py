"""Measure what Dagster adds: a range run of many days, endpoints, names and marts, against the same through `sync`.

    uv run python -m usage_pipeline_tests.benchmarks.overhead [--days 90]

Two whole processes, each into an empty folder; the run is on a real instance (SQLite, our dagster.yaml), whose event
log then says where its time went. Put the sequence and the reading of the log here.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from usage_pipeline_tests.benchmarks.contenders import environment_of
from usage_pipeline_tests.benchmarks.measure import cost_of
from usage_pipeline_tests.benchmarks.serving import serving_organizations
from usage_pipeline_tests.benchmarks.table import Row, run

_GOAL = 30


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table: both processes, the difference, and the parts of the run by its event log (wall only)."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    days = [str(tomorrow - timedelta(days=asked.days)), str(tomorrow)]
    with tempfile.TemporaryDirectory() as made, serving_organizations() as base:
        costs = {}
        for name, command in (
            ("sync", ["usage_pipeline", "sync", "--since", days[0], "--until", days[1]]),
            ("Dagster run", ["usage_pipeline_tests.benchmarks.job", *days]),
        ):
            folder = Path(made) / name
            folder.mkdir()
            env = {**environment_of(base, folder, "1d"), "USAGE_PIPELINE_START_DATE": days[0]}
            costs[name] = cost_of([sys.executable, "-m", *command], env=env, cwd=folder)
            yield {"what": name, "steps": "", **costs[name].columns(), "goal, wall s": ""}
        ours, theirs = costs.values()
        wall, cpu = theirs.wall_seconds - ours.wall_seconds, theirs.cpu_seconds - ours.cpu_seconds
        yield _row("difference", "", wall, round(cpu, 3), goal=_GOAL)
        own = json.loads((folder / "said.txt").read_text().splitlines()[-1])
        yield from _parts(folder / "data" / "dagster", own, theirs.wall_seconds)


def _parts(home: Path, own: Mapping[str, float], whole: float) -> Iterator[Row]:
    """Where the run's time went: in our own work, in Dagster's around it, and outside of steps."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (ran,) = instance.get_runs()
        events = [entry for entry in instance.all_logs(ran.run_id) if entry.is_dagster_event]
    began: dict[str, float] = {}
    took: dict[str, float] = {}
    for entry in events:
        if entry.dagster_event_type == dg.DagsterEventType.STEP_START:
            began[str(entry.step_key)] = entry.timestamp
        elif entry.dagster_event_type == dg.DagsterEventType.STEP_SUCCESS:
            took[str(entry.step_key)] = entry.timestamp - began[str(entry.step_key)]
    working, steps = defaultdict[str, float](float), defaultdict[str, int](int)
    around = 0.0
    for step, seconds in took.items():
        kind = step.partition("__")[0] if "__" in step or step in ("report", "warehouse") else "checks"
        mine = own.get(step.replace("__", "/", 1), own.get(step, seconds))
        working[kind] += mine
        steps[kind] += 1
        around += seconds - mine
    for kind, seconds in working.items():
        yield _row(f"our work in steps: {kind}", steps[kind], seconds)
    yield _row("Dagster in steps: an event for each asset and day, checks", len(took), around)
    first, begin, end = events[0].timestamp, min(began.values()), events[-1].timestamp
    yield _row("Dagster before the first step: an event for each asset and day", "", begin - first)
    yield _row("Dagster between steps", "", end - begin - sum(took.values()))
    yield _row("before and after the run: imports, definitions, results", "", whole - (end - first))
    yield _row("events written (number, not seconds)", len(events), 0)


def _row(what: str, steps: int | str, wall: float, cpu: float | str = "", goal: float | str = "") -> Row:
    return {"what": what, "steps": steps, "wall s": round(wall, 3), "CPU s": cpu, "peak MiB": "", "goal, wall s": goal}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=90)


if __name__ == "__main__":
    run("overhead", __doc__, measure, _add_options)
