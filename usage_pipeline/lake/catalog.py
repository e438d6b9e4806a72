"""The published DuckDB file: views pinned to exact files, built beside the old one and renamed over it.

Put writing of the published file here; reading it is query.py's, what it shows is decided by snapshot.py and marts.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from usage_pipeline.lake.as_of import as_of_macros
from usage_pipeline.lake.disk import sync_to_disk
from usage_pipeline.lake.engine import file_to_write, identifier, literal
from usage_pipeline.lake.links import refuse_linked_path
from usage_pipeline.lake.published import PINNED
from usage_pipeline.lake.snapshot import Relation

_STORAGE_VERSION = "v1.5.0"  # so that clients older than 2.0 open the file
_DEFINITION = f"{PINNED}.definition"  # the macro that says what the file was made of


@dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """A question kept in the published file: `from name(parameters)` answers it. It reads published relations.

    One that answers with a single value is asked where a value stands: `select name(parameters)`.
    """

    name: str
    parameters: tuple[str, ...]
    comment: str
    query: str
    is_value: bool = False


def create_views(con: duckdb.DuckDBPyConnection, relations: Iterable[Relation]) -> None:
    """Create (or replace) a view per relation, and their schemas, on an open connection."""
    for relation in relations:
        for statement in _view_sql(relation):
            con.execute(statement)


def _view_sql(relation: Relation) -> tuple[str, str]:
    schema, name = identifier(relation.schema), identifier(relation.name)
    return f"create schema if not exists {schema}", f"create or replace view {schema}.{name} as {relation.sql}"


def publish(
    path: Path,
    relations: Iterable[Relation],
    macros: Iterable[Macro],
    pinned: Mapping[str, str],
    *,
    is_whole: bool,
    before: Callable[[Path], None],
) -> None:
    """Write the file anew and put it in place at once; a reader has the old one or the new one.

    Where the file that is there has the same views and macros, a copy of it is changed, which costs a tenth.

    Args:
        path: the published file.
        relations: its views, in the order in which they stand on each other.
        macros: questions, which read them; those for looking back come by themselves.
        pinned: macros that say what the views read now (files, lookbacks): by name the definition.
        is_whole: whether the file that is there is what was written.
        before: called with the whole new file just before it takes its place.
    """
    refuse_linked_path(path.parent, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove(temporary)
    statements = _definition(list(relations), macros)
    key = hashlib.sha256("\n".join((duckdb.__version__, *pinned, *statements)).encode()).hexdigest()
    try:
        if not (is_whole and _changed(path, temporary, key, pinned)):
            _remove(temporary)
            with file_to_write(temporary, storage_version=_STORAGE_VERSION) as con:
                _pin(con, {_DEFINITION: literal(key), **pinned})
                for statement in statements:
                    con.execute(statement)
        sync_to_disk(temporary)
        before(temporary)
        temporary.replace(path)
    finally:
        _remove(temporary)


def _definition(relations: Sequence[Relation], macros: Iterable[Macro]) -> list[str]:
    """The statements that make the views, their comments and the macros that read them."""
    made = [statement for relation in relations for statement in _view_sql(relation)]
    # hundreds of comments: one by one takes half as long again
    comments = "; ".join(comment for relation in relations for comment in _comments(relation))
    return [*made, comments, *as_of_macros(), *map(_macro_sql, macros)]


def _changed(path: Path, temporary: Path, key: str, pinned: Mapping[str, str]) -> bool:
    """Copy the published file and let its views read what is pinned now; not where it was made of something else."""
    shutil.copyfile(path, temporary)
    with file_to_write(temporary, storage_version=_STORAGE_VERSION) as con:
        try:
            (found,) = con.execute(f"select {_DEFINITION}()").fetchall()[0]
        except duckdb.CatalogException:  # a version before this one wrote it
            return False
        if found == key:
            _pin(con, pinned)
        return bool(found == key)


def _pin(con: duckdb.DuckDBPyConnection, pinned: Mapping[str, str]) -> None:
    con.execute(f"create schema if not exists {PINNED}")
    for name, definition in pinned.items():
        con.execute(f"create or replace macro {name}() as {definition}")


def _macro_sql(macro: Macro) -> str:
    parameters = ", ".join(map(identifier, macro.parameters))
    name = identifier(macro.name)
    body, kind = (f"({macro.query})", "macro") if macro.is_value else (f"table {macro.query}", "macro table")
    return f"create macro {name}({parameters}) as {body}; comment on {kind} {name} is {literal(macro.comment)}"


def _remove(temporary: Path) -> None:
    """The file, and the log that DuckDB leaves beside it where its last write fails."""
    for path in (temporary, temporary.with_name(f"{temporary.name}.wal")):
        path.unlink(missing_ok=True)


def _comments(relation: Relation) -> Iterator[str]:
    """What a relation and its columns mean, where SQL clients show it."""
    name = f"{identifier(relation.schema)}.{identifier(relation.name)}"
    yield f"comment on view {name} is {literal(relation.comment)}"
    for column, text in relation.column_comments.items():
        yield f"comment on column {name}.{identifier(column)} is {literal(text)}"
