"""Ask other engines what the published file says, of the same lake, and compare row for row.

    uv run --group bench python -m usage_pipeline_tests.engines [--only NAME ...] [--json] [--sql DIALECT]

Makes a lake of two organizations, then asks each engine, in an environment of its own, for marts by their own SQL and
for sums of all that is stored. Ends with 1 when an answer differs. Put the sequence here; engines are contenders.py's.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from usage_pipeline_tests.engines.answers import answer_of
from usage_pipeline_tests.engines.contenders import ENGINES, Comparison, compare
from usage_pipeline_tests.engines.lake import lake_tables, make_lake, published
from usage_pipeline_tests.engines.queries import statements

_TITLES = ("engine", "version", "attached by", "same", "CPU s")


def print_questions(wanted: Mapping[str, pa.Table]) -> None:
    """What is asked: rows and checksum of the published answers."""
    for name, table in wanted.items():
        sys.stdout.write(f"{name:40} {table.num_rows:>6} rows  {answer_of(table).checksum[:16]}\n")


def print_table(results: Mapping[str, Comparison]) -> None:
    """A line per engine, and below what differs."""
    rows = [_TITLES]
    for name, one in results.items():
        same = f"{len(one.same)} of {len(one.same) + len(one.different)}"
        rows.append((name, one.version, ENGINES[name].attached, same, f"{one.cpu_seconds:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    for name, one in results.items():
        for question, told in one.different.items():
            sys.stdout.write(f"{name} differs in {question}: {told}\n")
        if one.types:
            sys.stdout.write(f"{name} has other types, with the same values: {'; '.join(one.types)}\n")


def main() -> None:
    """Read the arguments, make the lake, ask, print."""
    parser = argparse.ArgumentParser(prog="usage_pipeline_tests.engines", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "usage_pipeline_engines")
    parser.add_argument("--json", action="store_true", help="the results as JSON instead of a table")
    dialects = sorted({engine.dialect for engine in ENGINES.values()})
    parser.add_argument("--sql", choices=dialects, help="only print the statements, in this dialect")
    asked = parser.parse_args()
    if asked.sql:
        for name, statement in statements(asked.sql).items():
            sys.stdout.write(f"-- {name}\n{statement};\n\n")
        return
    results: dict[str, Comparison] = {}
    with tempfile.TemporaryDirectory() as scratch:
        settings = make_lake(Path(scratch) / "data")
        tables, wanted = lake_tables(settings), published(settings)
        for name in asked.only:
            results[name] = compare(ENGINES[name], tables, wanted, asked.environments, Path(scratch) / name)
            sys.stderr.write(f"{name}: {len(results[name].same)} of {len(wanted)} answers are the same\n")
    if asked.json:
        checksums = {name: answer_of(table).checksum for name, table in wanted.items()}
        told = {"checksums": checksums, "engines": {name: asdict(one) for name, one in results.items()}}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        print_questions(wanted)
        print_table(results)
    sys.exit(1 if any(one.different for one in results.values()) else 0)


if __name__ == "__main__":
    main()
