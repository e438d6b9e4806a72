"""Who is measured: how each is started, the environment it needs, and the query that tells what it stored.

Put a contender's command and check here, one row each; what it does is its script's in peers/.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb

from usage_pipeline_tests.benchmarks.work import MEASURES, Work

OURS = "usage_pipeline"
PEERS = Path(__file__).with_name("peers")
_SUMS = ", ".join(f"sum({name})::bigint" for name in MEASURES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One way to do the work. `packages` None: the project's own environment.

    `command` gets python, base URL, work and folder; `stored` is a database file (None: in memory) and a FROM clause.
    """

    name: str
    packages: tuple[str, ...] | None
    command: Callable[[str, str, Work, Path], list[str]]
    stored: Callable[[Path], tuple[Path | None, str]]

    def sums(self, folder: Path) -> dict[str, int]:
        """Rows and sums of the measures, from what was stored."""
        file, table = self.stored(folder)
        with duckdb.connect(str(file or ":memory:"), read_only=file is not None) as con:
            row = con.execute(f"select count(*), {_SUMS} from {table}").fetchone()
        assert row is not None
        return {name: value or 0 for name, value in zip(("rows", *MEASURES), row, strict=True)}


def _script(name: str) -> Callable[[str, str, Work, Path], list[str]]:
    def command(python: str, base: str, work: Work, folder: Path) -> list[str]:
        return [python, str(PEERS / f"{name}.py"), base, str(work.start_time), str(work.end_time), str(folder)]

    return command


def _sync(python: str, _base: str, work: Work, _folder: Path) -> list[str]:
    """What people type."""
    days = ["--since", str(work.first_day), "--until", str(work.last_day + timedelta(days=1))]
    return [python, "-m", OURS, "sync", "--endpoint", "completions", *days]


def _database(name: str, table: str) -> Callable[[Path], tuple[Path | None, str]]:
    return lambda folder: (folder / f"{name}.duckdb", table)


CONTENDERS = {
    one.name: one
    for one in (
        Contender(
            name=OURS,
            packages=None,
            command=_sync,
            stored=lambda folder: (folder / "data" / "warehouse.duckdb", "usage.completions"),
        ),
        Contender(
            name="without_marts",
            packages=None,
            command=_script("without_marts"),
            stored=lambda folder: (folder / "data" / "warehouse.duckdb", "usage.completions"),
        ),
        Contender(
            name="floor",
            packages=None,
            command=_script("floor"),
            stored=lambda folder: (None, f"'{folder / 'floor.parquet'}'"),
        ),
        Contender(
            name="cookbook",
            packages=("requests", "pandas", "duckdb==2.0.*", "pyarrow"),
            command=_script("cookbook"),
            stored=_database("cookbook", "completions"),
        ),
        Contender(
            name="dlt_arrow",
            packages=("dlt[duckdb,parquet]==1.31.*", "httpx", "duckdb==2.0.*"),
            command=_script("dlt_arrow"),
            stored=_database("dlt_arrow", "usage.completions"),
        ),
        Contender(
            name="dlt_rest",
            packages=("dlt[duckdb,parquet]==1.31.*", "httpx", "duckdb==2.0.*"),
            command=_script("dlt_rest"),
            stored=_database("dlt_rest", "usage.completions__results"),
        ),
        Contender(
            name="singer",
            packages=("singer-sdk==0.54.*", "target-duckdb==0.8.*", "requests"),
            command=_script("singer"),
            stored=_database("singer", "usage.completions"),
        ),
        Contender(
            name="pyairbyte",
            packages=("airbyte==0.71.*",),
            command=_script("pyairbyte"),
            stored=_database("pyairbyte", "usage.completions"),
        ),
    )
}


def python_of(contender: Contender, environments: Path) -> str:
    """The interpreter the contender runs on; its environment is made where it is missing."""
    return python_with(contender.packages, environments / contender.name)


def python_with(packages: tuple[str, ...] | None, folder: Path) -> str:
    """The interpreter of an environment with these packages, made where it is missing; None: the project's own."""
    if packages is None:
        return sys.executable
    python = folder / "bin" / "python"
    if not python.exists():
        uv = [sys.executable, "-m", "uv"]
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([*uv, "venv", "--quiet", "--python", version, str(folder)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
    return str(python)


def environment_of(base: str, folder: Path, width: str = "1m") -> Mapping[str, str]:
    """The variables a contender runs with; `data` in the folder is ours."""
    ours = {
        "OPENAI_BASE_URL": base,
        "OPENAI_ADMIN_KEY": "sk-admin-benchmark-0000000000000000",
        "USAGE_PIPELINE_BUCKET_WIDTH": width,
        "USAGE_PIPELINE_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    # Where this is set, and only there, every start compiles every module again.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **ours}
