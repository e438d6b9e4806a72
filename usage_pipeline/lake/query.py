"""Questions to the published file, asked safely: read-only, no network, no files but the lake's.

Put opening and querying of the published file here; printing answers belongs to whoever asks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from usage_pipeline.errors import FixConfig, LakeDamaged
from usage_pipeline.lake.engine import literal

_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Column names, and the rows as they come."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def ask(path: Path, lake_root: Path, sql: str, parameters: dict[str, Any] | None = None) -> Iterator[Answer]:
    """Run a query on the published file; its rows can be read while the context lasts.

    Raises:
        FixConfig: nothing is published yet, or the query is wrong or empty; the message is the engine's own.
        LakeDamaged: the published file or a file of the lake is gone or cannot be read.
    """
    with _said_plainly(), _open(path, lake_root) as con:
        answer = con.execute(sql, parameters)
        if answer is None or answer.description is None:
            raise FixConfig("the query is empty: write a statement, for example `from marts.cost_daily limit 5`.")
        yield Answer(_distinct([column[0] for column in answer.description]), _rows(answer))


@contextmanager
def ask_batches(
    path: Path, lake_root: Path, sql: str, parameters: dict[str, Any] | None = None
) -> Iterator[pa.RecordBatchReader]:
    """The answer as Arrow batches, read while the context lasts; the errors are those of `ask`."""
    with _said_plainly(), _open(path, lake_root) as con:
        yield con.sql(sql, params=parameters).to_arrow_reader(_BATCH)


@contextmanager
def _said_plainly() -> Iterator[None]:
    """The engine's errors as ours."""
    try:
        yield
    except duckdb.PermissionException as refused:
        raise FixConfig(
            f"the query failed: {str(refused).strip()} Queries read the lake's files and nothing else; if the data "
            "folder was moved, run `usage-pipeline publish`."
        ) from None
    except duckdb.IOException as gone:
        raise LakeDamaged(
            f"the query failed: {str(gone).strip()} If the data folder was moved or warehouse.duckdb is damaged, run "
            "`usage-pipeline publish`; if files of the lake were lost, `usage-pipeline replay`."
        ) from None
    except duckdb.Error as wrong:
        raise FixConfig(f"the query failed: {str(wrong).strip()}") from None


def _distinct(names: list[str]) -> list[str]:
    """Column names without repetition: a second `a` becomes `a_2`, so that no value hides another."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _open(path: Path, lake_root: Path) -> duckdb.DuckDBPyConnection:
    if not path.exists():
        raise FixConfig(f"{path} does not exist yet: run `usage-pipeline sync` or `usage-pipeline demo` first.")
    con = duckdb.connect(str(path), read_only=True, config={"autoinstall_known_extensions": "false"})
    con.execute("set timezone = 'UTC'")
    con.execute(f"set allowed_directories = [{literal(str(lake_root.resolve()) + '/')}]")
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    return con


def _rows(answer: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while batch := answer.fetchmany(_BATCH):
        yield from batch
