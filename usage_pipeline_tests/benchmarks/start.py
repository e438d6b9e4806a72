"""Measure how soon a command begins to be of use: `--help`, and a sync of one day, process start included.

    uv run python -m usage_pipeline_tests.benchmarks.start [--times 5]

The least of several runs each, over a made-up organization. Put the commands here.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from usage_pipeline_tests.benchmarks.contenders import environment_of
from usage_pipeline_tests.benchmarks.measure import cost_of, least_of
from usage_pipeline_tests.benchmarks.serving import serving_organizations
from usage_pipeline_tests.benchmarks.table import Row, run

_COMMAND = str(Path(sys.executable).with_name("usage-pipeline"))


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    day = datetime.now(UTC).date() - timedelta(days=3)
    sync = ["sync", "--since", str(day), "--until", str(day + timedelta(days=1))]
    one = [*sync, "--endpoint", "completions"]
    with tempfile.TemporaryDirectory() as made, serving_organizations() as base:
        folder = Path(made)
        for what, command, is_first, goal in (
            ("--help", ["--help"], False, 0.3),
            ("sync of a day of completions, first", one, True, 1.2),
            ("the same again, unchanged", one, False, 1.2),
            ("sync of a day of everything, first", sync, True, None),
            ("the same again, unchanged", sync, False, None),
        ):
            costs = []
            for _ in range(asked.times):
                if is_first:
                    shutil.rmtree(folder / "data", ignore_errors=True)
                costs.append(cost_of([_COMMAND, *command], env=environment_of(base, folder, "1d"), cwd=folder))
            yield {"what": what, **least_of(costs).columns(), "goal, wall s": goal or ""}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=5)


if __name__ == "__main__":
    run("start", __doc__, measure, _add_options)
