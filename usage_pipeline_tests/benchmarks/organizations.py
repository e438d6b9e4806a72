"""Measure how a sync of one day grows with the number of organizations, at 1d, in one go on one machine.

    uv run python -m usage_pipeline_tests.benchmarks.organizations [--organizations 1 10 30] [--endpoint NAME ...]

Each number of made-up organizations is served by a process of its own, synced into an empty folder, then again
unchanged. Put the sequence here; measuring a process is measure.py's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from usage_pipeline.organizations import ORGANIZATIONS_FILE
from usage_pipeline_tests.benchmarks.measure import cost_of
from usage_pipeline_tests.benchmarks.serving import serving_organizations
from usage_pipeline_tests.benchmarks.table import Row, run

_COMMAND = [sys.executable, "-m", "usage_pipeline"]
_STORED = "select sum(rows)::bigint as rows, count(distinct organization) as organizations from meta.coverage"


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table: of each number the first sync of a day, and the same again."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    endpoints = [word for name in asked.endpoint for word in ("--endpoint", name)]
    sync = [*_COMMAND, "sync", "--quiet", "--since", str(yesterday), "--until", str(yesterday + timedelta(days=1))]
    for count in asked.organizations:
        with tempfile.TemporaryDirectory() as made, serving_organizations(count) as address:
            folder = Path(made)
            tables = [f'[organizations.org{n:04}]\nkey_variable = "KEY_{n}"\n' for n in range(1, count + 1)]
            (folder / ORGANIZATIONS_FILE).write_text("\n".join(tables), encoding="utf-8")
            keys = {f"KEY_{n}": f"sk-admin-simulated-{n}" for n in range(1, count + 1)}
            if count == 1:  # an only organization has the key without a number
                keys["KEY_1"] = "sk-admin-simulated"
            env = {**os.environ, **keys, "OPENAI_BASE_URL": address}
            for which in ("load", "again"):
                cost = cost_of([*sync, *endpoints], env=env, cwd=folder)
                said = subprocess.run(
                    [*_COMMAND, "sql", "--json", _STORED],
                    env=env,
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                (stored,) = json.loads(said.stdout)
                size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
                yield {
                    "organizations": count, "run": which, "stored": stored["organizations"], "rows": stored["rows"],
                    **cost.columns(), "folder MiB": round(size / 2**20, 1),
                }  # fmt: skip


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--organizations", type=int, nargs="+", default=[1, 10, 30])
    parser.add_argument("--endpoint", action="append", default=[])


if __name__ == "__main__":
    run("organizations", __doc__, measure, _add_options)
