"""The published DuckDB file: views pinned to exact files, built beside the old one and renamed over it.

Put writing and opening of the published file here; which relations it shows is decided by snapshot.py and the marts.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import duckdb

from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.engine import connect, identifier, literal
from usage_pipeline.lake.snapshot import Relation

_STORAGE_VERSION = "v1.5.0"  # so that clients older than 2.0 open the file


def create_views(con: duckdb.DuckDBPyConnection, relations: Iterable[Relation]) -> None:
    """Create the schemas and a view per relation on an open connection."""
    for relation in relations:
        name = f"{identifier(relation.schema)}.{identifier(relation.name)}"
        con.execute(f"create schema if not exists {identifier(relation.schema)}")
        con.execute(f"create view {name} as {relation.sql}")


def publish(path: Path, relations: Iterable[Relation]) -> None:
    """Write the file anew and put it in place at once; a reader has the old one or the new one."""
    shown = list(relations)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with connect() as con:
            con.execute(f"attach {literal(str(temporary))} as published (storage_version {literal(_STORAGE_VERSION)})")
            con.execute("use published")
            create_views(con, shown)
            _comment(con, shown)
            con.execute("use memory")
            con.execute("detach published")
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _comment(con: duckdb.DuckDBPyConnection, relations: Iterable[Relation]) -> None:
    """What a column means, where SQL clients show it."""
    for relation in relations:
        name = f"{identifier(relation.schema)}.{identifier(relation.name)}"
        con.execute(f"comment on view {name} is {literal(relation.comment)}")
        for column, text in relation.column_comments.items():
            con.execute(f"comment on column {name}.{identifier(column)} is {literal(text)}")


def open_published(path: Path, lake_root: Path) -> duckdb.DuckDBPyConnection:
    """The published file, read-only, in a connection that can read the lake's files and nothing else.

    Raises:
        FixConfig: nothing was published yet.
    """
    if not path.exists():
        raise FixConfig(f"{path} does not exist yet: run `usage-pipeline sync` or `usage-pipeline demo` first.")
    con = duckdb.connect(str(path), read_only=True, config={"autoinstall_known_extensions": "false"})
    con.execute("set timezone = 'UTC'")
    con.execute(f"set allowed_directories = [{literal(str(lake_root.resolve()))}]")
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    return con
