"""DuckDB connections and the SQL text that reads Delta tables: the lake's door to its query engine.

Put connection settings and generic statement building here; what is asked of the engine lives with the asker.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

from usage_pipeline.windows import WIDTH_SECONDS

# What DuckDB would do by itself when a query names an extension: fetch it from the network, load it, run its code.
OFFLINE = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
_DUCKDB_TYPES = {
    pa.string(): "varchar",
    pa.bool_(): "boolean",
    pa.int64(): "bigint",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
}


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory database of its own that never reaches for the network and reads times as UTC."""
    con = duckdb.connect(":memory:", config=dict(OFFLINE))
    con.execute("set global timezone = 'UTC'")
    return con


def session() -> duckdb.DuckDBPyConnection:
    """A connection for queries that create nothing but temporary tables: opening one costs next to nothing.

    All sessions share one database; a new database for each question would cost more than most questions.
    """
    return _shared(os.getpid()).cursor()


@contextmanager
def workspace() -> Iterator[duckdb.DuckDBPyConnection]:
    """A session with an empty catalog of its own, for queries that stand on views and tables they make."""
    name = identifier(f"workspace {uuid.uuid4().hex}")
    with session() as con:
        con.execute(f"attach ':memory:' as {name}")
        con.execute(f"use {name}")
        try:
            yield con
        finally:
            con.execute("use memory")
            con.execute(f"detach {name}")


@contextmanager
def file_to_write(path: Path, *, storage_version: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database file, new where there is none, as the catalog of a connection: written at once when the block ends.

    It is written by a database of its own, for one that cannot write a file may refuse all that is asked afterwards.
    """
    name = identifier(f"file {uuid.uuid4().hex}")
    version = "" if path.exists() else f" (storage_version {literal(storage_version)})"
    with _writer(os.getpid()).cursor() as con:
        try:
            con.execute(f"attach {literal(str(path))} as {name}{version}")
            con.execute(f"use {name}")
            con.begin()
            yield con
            con.commit()
            con.execute("use memory")
            con.execute(f"detach {name}")
        except BaseException:
            _writer.cache_clear()
            raise


@cache
def _shared(_pid: int) -> duckdb.DuckDBPyConnection:
    """The shared database; a forked process makes its own."""
    return connect()


@cache
def _writer(_pid: int) -> duckdb.DuckDBPyConnection:
    """The database that writes files: to open one for each file would cost more than most files."""
    return connect()


def tables_read(query: str) -> frozenset[str]:
    """The tables a query names, as `schema.name`."""
    with session() as con:
        names = con.get_table_names(query, qualified=True)
    return frozenset(name.partition(" AS ")[0] for name in names)  # DuckDB gives `table AS alias` for a joined one


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string, for statements that take no parameters (views)."""
    return "'" + text.replace("'", "''") + "'"


def is_in(column: str, values: Iterable[str]) -> str:
    """The condition that a column has one of the values, for statements that take no parameters (predicates)."""
    return f"{column} in ({', '.join(map(literal, sorted(values)))})"


def sql_type(kind: pa.DataType) -> str:
    """The DuckDB type of an Arrow type the lake uses."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f"{identifier(f.name)} {sql_type(f.type)}" for f in kind) + ")"
    return _DUCKDB_TYPES[kind]


def width_sql(column: str) -> str:
    """The length of a bucket, as an interval, by its width in a column."""
    seconds = " ".join(f"when {literal(width)} then {length}" for width, length in WIDTH_SECONDS.items())
    return f"to_seconds(case {column} {seconds} end)"


def list_sql(texts: Iterable[str]) -> str:
    """A SQL list of strings."""
    return "[" + ", ".join(map(literal, texts)) + "]"


def scan_sql(
    schema: pa.Schema, files: Sequence[str], *, leave_out: Iterable[str] = (), listed_by: str | None = None
) -> str:
    """A SELECT over exactly these Parquet files, with exactly the schema's columns.

    With `listed_by` the text names the files by that SQL expression instead of one by one, so that it stays the same
    when they change. The typed empty relation in front gives columns no file has yet, and makes a table without files
    readable.
    """
    hidden = set(leave_out)
    shown = [(f.name, f.type) for f in schema if f.name not in hidden]
    empty = ", ".join(f"null::{sql_type(kind)} as {identifier(name)}" for name, kind in shown)
    select = f"select {empty} where false"
    if not files:
        return select
    names = ", ".join(identifier(name) for name, _ in shown)
    # The partition columns live in the folder names, not in the files: read them from there, as text.
    scan = (
        f"select * from read_parquet({listed_by or list_sql(files)}, union_by_name = true, "  # noqa: S608
        "hive_partitioning = true, hive_types_autocast = false)"
    )
    return f"select {names} from ({select} union all by name {scan})"  # noqa: S608
