"""The engines: which packages each needs, in whose dialect it is asked, and how it reads the lake.

Put an engine's row here; what it does is its script's in attached/.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from usage_pipeline_tests.benchmarks.contenders import python_with
from usage_pipeline_tests.benchmarks.measure import cost_of
from usage_pipeline_tests.engines.answers import answer_of, difference, flags_of, other_types
from usage_pipeline_tests.engines.queries import statements

_SCRIPTS = "usage_pipeline_tests.engines.attached"
_ARROW = "pyarrow==26.*"
_ZONE = "Asia/Kathmandu"  # so that who reads times as the machine's does not give the same answers by chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One engine. `packages` None: the project's own environment has it."""

    name: str
    packages: tuple[str, ...] | None
    dialect: str
    script: str
    attached: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What one engine answered, beside what is published."""

    version: str
    cpu_seconds: float
    same: tuple[str, ...]
    different: Mapping[str, str]
    types: tuple[str, ...]


ENGINES = {
    one.name: one
    for one in (
        Engine(
            name="duckdb",
            packages=None,
            dialect="duckdb",
            script="duckdb_files",
            attached="the newest version's files, read_parquet",
        ),
        Engine(
            name="delta-rs",
            packages=None,
            dialect="postgres",
            script="delta_rs",
            attached="Delta tables, deltalake.QueryBuilder (DataFusion)",
        ),
        Engine(
            name="datafusion",
            packages=("datafusion==55.*", "deltalake==1.6.*", _ARROW),
            dialect="postgres",
            script="datafusion_dataset",
            attached="Delta tables, DeltaTable.to_pyarrow_dataset",
        ),
        Engine(
            name="polars",
            packages=("polars==2.*", "deltalake==1.6.*", _ARROW),
            dialect="postgres",
            script="polars_delta",
            attached="Delta tables, polars.scan_delta",
        ),
        Engine(
            name="clickhouse",
            packages=("chdb==4.*", _ARROW),
            dialect="clickhouse",
            script="clickhouse",
            attached="Delta tables, deltaLakeLocal (chdb)",
        ),
        Engine(
            name="spark",
            packages=("pyspark==4.*", _ARROW),
            dialect="spark",
            script="spark",
            attached="the newest version's files; a master, two workers",
        ),
    )
}


def compare(
    engine: Engine, tables: list[dict[str, Any]], wanted: Mapping[str, pa.Table], environments: Path, folder: Path
) -> Comparison:
    """Ask an engine everything about the tables, and compare with what is wanted.

    Raises:
        RuntimeError: it did not start, or could not attach the tables; the text is the end of what it said.
    """
    folder.mkdir(parents=True)
    asked = statements(engine.dialect)
    task = folder / "task.json"
    task.write_text(json.dumps({"tables": tables, "statements": asked}), encoding="utf-8")
    python = python_with(engine.packages, environments / engine.name)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TZ": _ZONE}
    cost = cost_of([python, "-m", f"{_SCRIPTS}.{engine.script}", str(task), str(folder)], env=env, cwd=folder)
    different, types = {}, set()
    for number, name in enumerate(asked):
        file = folder / f"{number}.arrow"
        if not file.exists():
            different[name] = file.with_suffix(".error").read_text(encoding="utf-8")
            continue
        with pa.memory_map(str(file)) as source:
            got = pa.ipc.open_file(source).read_all()
        types |= other_types(wanted[name], got)
        told = difference(answer_of(wanted[name]), answer_of(got, flags_of(wanted[name])))
        if told is not None:
            different[name] = told
    return Comparison(
        version=(folder / "version").read_text(encoding="utf-8"),
        cpu_seconds=round(cost.cpu_seconds, 1),
        same=tuple(name for name in asked if name not in different),
        different=different,
        types=tuple(sorted(types)),
    )
