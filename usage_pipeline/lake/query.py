"""Questions to the published file, asked safely: read-only, no network, no files but the lake's, none of them written.

Put opening and querying of the published file here; printing answers belongs to whoever asks.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from usage_pipeline.errors import FixConfig, LakeDamaged
from usage_pipeline.lake.engine import OFFLINE, literal

_BATCH = 10_000
# The views need the lake's files opened, and a folder that may be read may be written: only these words would write
# there, as statements of their own, under EXPLAIN ANALYZE or PREPARE, and inside a WITH. As names they can be quoted.
_WRITING_WORDS = {"copy", "export"}
_WORD = re.compile(rb"[A-Za-z_]+")
_HIDES_STATEMENTS = "json_execute_serialized_sql"


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
        _check_reads_only(sql)
        answer = con.execute(sql, parameters)
        if answer is None or answer.description is None:
            raise FixConfig("the query is empty: write a statement, for example `from marts.cost_daily limit 5`.")
        yield Answer(_distinct([column[0] for column in answer.description]), _rows(answer))


@contextmanager
def asking(path: Path, lake_root: Path) -> Iterator[Callable[[str, dict[str, Any]], list[tuple[Any, ...]]]]:
    """Several questions to one version of the published file: what is renamed into its place meanwhile is not seen.

    Raises:
        FixConfig: as `ask`.
        LakeDamaged: as `ask`.
    """
    with _said_plainly(), _open(path, lake_root) as con:
        yield lambda sql, parameters: con.execute(sql, parameters).fetchall()


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
            f"the query failed: {_told(refused)} Queries read the lake's files and nothing else; if the data "
            "folder was moved, run `usage-pipeline publish`."
        ) from None
    except duckdb.IOException as gone:
        raise LakeDamaged(
            f"the query failed: {_told(gone)} If the data folder was moved or warehouse.duckdb is damaged, run "
            "`usage-pipeline publish`; if files of the lake were lost, `usage-pipeline doctor`."
        ) from None
    except duckdb.Error as wrong:
        raise FixConfig(f"the query failed: {_told(wrong)}") from None


def _told(error: duckdb.Error) -> str:
    """The engine's words without the line of carets, which points at nothing once the message is one line."""
    return "\n".join(line for line in str(error).strip().splitlines() if line.strip(" ^") or not line)


def _check_reads_only(sql: str) -> None:
    """Refuse what would write files: the lake's own could be overwritten."""
    text = sql.encode("utf-8", "replace")
    keywords = [start for start, kind in duckdb.tokenize(sql) if kind == duckdb.token_type.keyword]
    words = {found.group().decode().lower() for start in keywords if (found := _WORD.match(text, start))}
    if words & _WRITING_WORDS or _HIDES_STATEMENTS in sql.lower():
        raise FixConfig(
            "the query failed: queries read and never write files (COPY, EXPORT). For a file, print with --csv or "
            '--json into it; a column of that name goes in quotes: "copy".'
        )


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
    try:
        con = duckdb.connect(str(path), read_only=True, config=dict(OFFLINE))
    except duckdb.Error as wrong:  # of several kinds: a damaged header is one, a file cut short another
        raise LakeDamaged(
            f"{path} cannot be opened ({str(wrong).strip().splitlines()[0]}): run `usage-pipeline publish`, which "
            "makes it anew."
        ) from wrong
    con.execute("set timezone = 'UTC'")
    con.execute(f"set allowed_directories = [{literal(str(lake_root.resolve()) + '/')}]")
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    return con


def _rows(answer: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while batch := answer.fetchmany(_BATCH):
        yield from batch
