"""The published DuckDB file: views pinned to exact files, built beside the old one and renamed over it.

Put writing of the published file here; reading it is query.py's, what it shows is decided by snapshot.py and marts.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from usage_pipeline.lake.as_of import as_of_macros
from usage_pipeline.lake.disk import sync_to_disk
from usage_pipeline.lake.engine import identifier, literal, new_file
from usage_pipeline.lake.links import refuse_linked_path
from usage_pipeline.lake.snapshot import Relation

_STORAGE_VERSION = "v1.5.0"  # so that clients older than 2.0 open the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """A question kept in the published file: `from name(parameters)` answers it. It reads published relations."""

    name: str
    parameters: tuple[str, ...]
    comment: str
    query: str


def create_views(con: duckdb.DuckDBPyConnection, relations: Iterable[Relation]) -> None:
    """Create (or replace) a view per relation, and their schemas, on an open connection."""
    for relation in relations:
        name = f"{identifier(relation.schema)}.{identifier(relation.name)}"
        con.execute(f"create schema if not exists {identifier(relation.schema)}")
        con.execute(f"create or replace view {name} as {relation.sql}")


def publish(path: Path, relations: Iterable[Relation], macros: Iterable[Macro], before: Callable[[Path], None]) -> None:
    """Write the file anew and put it in place at once; a reader has the old one or the new one.

    The relations hold those of usage and meta, which the macros for looking back read, and what `macros` read. `before`
    is called with the
    whole new file just before it takes its place.
    """
    shown = list(relations)
    refuse_linked_path(path.parent, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove(temporary)
    try:
        with new_file(temporary, storage_version=_STORAGE_VERSION) as con:
            create_views(con, shown)
            _comment(con, shown)
            for statement in (*as_of_macros(), *map(_macro_sql, macros)):
                con.execute(statement)
        sync_to_disk(temporary)
        before(temporary)
        temporary.replace(path)
    finally:
        _remove(temporary)


def _macro_sql(macro: Macro) -> str:
    parameters = ", ".join(map(identifier, macro.parameters))
    name = identifier(macro.name)
    return (
        f"create macro {name}({parameters}) as table {macro.query}; "
        f"comment on macro table {name} is {literal(macro.comment)}"
    )


def _remove(temporary: Path) -> None:
    """The file, and the log that DuckDB leaves beside it where its last write fails."""
    for path in (temporary, temporary.with_name(f"{temporary.name}.wal")):
        path.unlink(missing_ok=True)


def _comment(con: duckdb.DuckDBPyConnection, relations: Iterable[Relation]) -> None:
    """What a column means, where SQL clients show it."""
    statements = []
    for relation in relations:
        name = f"{identifier(relation.schema)}.{identifier(relation.name)}"
        statements.append(f"comment on view {name} is {literal(relation.comment)}")
        statements += [
            f"comment on column {name}.{identifier(column)} is {literal(text)}"
            for column, text in relation.column_comments.items()
        ]
    con.execute("; ".join(statements))  # hundreds of them: one by one takes half as long again
