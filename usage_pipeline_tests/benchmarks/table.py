"""The command line of a benchmark, and the table it prints: rows as they are measured, then all of them as JSON.

Put what all these commands have alike here; what is measured is each command's own.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

Row = Mapping[str, object]


def run(
    name: str,
    document: str | None,
    measure: Callable[[argparse.Namespace], Iterable[Row]],
    add_options: Callable[[argparse.ArgumentParser], object] = lambda _: None,
) -> None:
    """Read the arguments (those of `add_options` and --json), print each row as it is measured, write all as JSON.

    The machine's load when it began is written too: of a shared one only CPU seconds and ratios of one run count.
    """
    parser = argparse.ArgumentParser(
        prog=f"usage_pipeline_tests.benchmarks.{name}",
        description=document,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--json", type=Path, default=Path(tempfile.gettempdir()) / f"benchmarks_{name}.json")
    asked = parser.parse_args()
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": platform.platform(), "load": os.getloadavg()[0]}
    arguments = {key: str(value) for key, value in vars(asked).items()}
    rows: list[Row] = []
    for row in measure(asked):
        if not rows:
            _print(row.keys())
        _print(row.values())
        rows.append(row)
    asked.json.write_text(json.dumps({**facts, "arguments": arguments, "rows": rows}, indent=1), encoding="utf-8")
    sys.stdout.write(f"written to {asked.json}\n")


def _print(cells: Iterable[object]) -> None:
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()
