"""Measure how a sync of one day grows with the number of organizations, at 1d, in one go on one machine.

    uv run python -m usage_pipeline_tests.benchmarks.organizations [--organizations 1 10 30] [--endpoint NAME ...]

Each number of made-up organizations is served by a process of its own, synced into an empty folder, then again
unchanged; what the whole `usage-pipeline sync` cost is printed as rows of a table. Put the sequence here; measuring a
process is measure.py's.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from usage_pipeline.organizations import ORGANIZATIONS_FILE
from usage_pipeline_tests.benchmarks.measure import cost_of

_COMMAND = [sys.executable, "-m", "usage_pipeline"]
_ADDRESS = re.compile(r"OPENAI_BASE_URL=(\S+) ")
_STORED = "select sum(rows)::bigint as rows, count(distinct organization) as organizations from meta.coverage"


@contextmanager
def serving(count: int) -> Iterator[str]:
    """The address of so many organizations, told apart by their keys."""
    command = [*_COMMAND, "simulate", "--port", "0", "--organizations", str(count)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            yield next(found[1] for line in server.stderr if (found := _ADDRESS.search(line)))
        finally:
            server.terminate()


def measure(count: int, endpoints: list[str]) -> Iterator[list[object]]:
    """The rows of the table for so many organizations: the first sync of a day, and the same again."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    asked = [word for name in endpoints for word in ("--endpoint", name)]
    sync = [*_COMMAND, "sync", "--quiet", "--since", str(yesterday), "--until", str(yesterday + timedelta(days=1))]
    with tempfile.TemporaryDirectory() as made, serving(count) as address:
        folder = Path(made)
        tables = [f'[organizations.org{n:04}]\nkey_variable = "KEY_{n}"\n' for n in range(1, count + 1)]
        (folder / ORGANIZATIONS_FILE).write_text("\n".join(tables), encoding="utf-8")
        keys = {f"KEY_{n}": f"sk-admin-simulated-{n}" for n in range(1, count + 1)}
        if count == 1:  # an only organization has the key without a number
            keys["KEY_1"] = "sk-admin-simulated"
        env = {**os.environ, **keys, "OPENAI_BASE_URL": address}
        for run in ("load", "again"):
            cost = cost_of([*sync, *asked], env=env, cwd=folder)
            said = subprocess.run(
                [*_COMMAND, "sql", "--json", _STORED], env=env, cwd=folder, capture_output=True, text=True, check=True
            )
            (stored,) = json.loads(said.stdout)
            size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
            yield [
                count,
                run,
                stored["organizations"],
                stored["rows"],
                round(cost.wall_seconds, 1),
                round(cost.cpu_seconds, 1),
                round(cost.peak_mib),
                round(size / 2**20, 1),
            ]


def main() -> None:
    """Measure each number and print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", type=int, nargs="+", default=[1, 10, 30])
    parser.add_argument("--endpoint", action="append", default=[])
    asked = parser.parse_args()
    sys.stdout.write("organizations | run | stored | rows | wall s | CPU s | peak MiB | folder MiB\n")
    for count in asked.organizations:
        for row in measure(count, asked.endpoint):
            sys.stdout.write(" | ".join(map(str, row)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
