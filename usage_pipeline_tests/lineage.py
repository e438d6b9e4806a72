"""Writes marts/lineage.json: which columns of what tables each mart's columns are made of, as sqlglot reads their SQL.

Run `python -m usage_pipeline_tests.lineage` after a mart's query or a derived view changed; a test says when. It takes
seconds, which is why the package carries the answer.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache

import sqlglot
from sqlglot import exp
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.engine import session, sql_type
from usage_pipeline.lake.schemas import PART, columns
from usage_pipeline.marts.derived import derived_relations
from usage_pipeline.marts.lineage import FILE
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.marts.tables import mart_schema

_DIALECT = "duckdb"
Tables = dict[str, dict[str, dict[str, str]]]


@cache
def _tables() -> Tables:
    """Schema -> table -> column -> type of all that marts and derived views read."""
    tables: Tables = {
        "usage": {name: {one: sql_type(kind) for one, kind, _ in columns(row)} for name, row in ENDPOINTS.items()},
        "dims": {name: {one.name: sql_type(one.type) for one in dim.schema} for name, dim in DIMS.items()},
        "marts": {name: {one.name: sql_type(one.type) for one in mart_schema(name)} for name in load_marts()},
        "meta": {"billed_days": {"organization": "varchar", "date": "date"}},
        "derived": {},
    }
    with session() as con:
        for schema in tables:
            con.execute(f"create schema {schema}")
        for schema, held in tables.items():
            for name, kinds in held.items():
                told = ", ".join(f'"{column}" {kind}' for column, kind in kinds.items() if column != PART)
                con.execute(f'create table {schema}."{name}" ({told})')
        for view in derived_relations():
            con.execute(f'create table derived."{view.name}" as {view.sql}')
            described = con.execute(f'describe derived."{view.name}"').fetchall()
            tables["derived"][view.name] = {row[0]: row[1] for row in described}
    return tables


def _sources(sql: str, names: Iterable[str]) -> dict[str, set[str]]:
    """Per column of a query the columns it is computed from, as `schema.table.column`; a constant has none."""
    query = qualify(
        sqlglot.parse_one(sql, dialect=_DIALECT), schema=_tables(), dialect=_DIALECT, validate_qualify_columns=False
    )
    scope = build_scope(query)
    found: dict[str, set[str]] = {}
    for name in names:
        whole = lineage(name, query, schema=_tables(), dialect=_DIALECT, scope=scope, copy=False)
        found[name] = {
            f"{leaf.source.db}.{leaf.source.name}.{leaf.name.rpartition('.')[2].strip(chr(34))}"
            for leaf in whole.walk()
            if not leaf.downstream and isinstance(leaf.source, exp.Table)
        }
    return found


@cache
def _behind(view: str) -> Mapping[str, set[str]]:
    relation = next(one for one in derived_relations() if one.name == view)
    return _through(_sources(relation.sql, _tables()["derived"][view]))


def _through(found: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """With what derived views are made of in their place, and without our own bookkeeping."""
    through: dict[str, set[str]] = {}
    for column, sources in found.items():
        through[column] = set()
        for source in sources:
            schema, table, name = source.split(".")
            if schema == "derived":
                through[column] |= _behind(table).get(name, set())
            elif schema != "meta" and name in _tables()[schema][table]:
                through[column].add(source)
    return through


def lineage_of(mart: str) -> dict[str, list[str]]:
    """A mart's columns with what they are made of, sorted; constants are left out."""
    names = [name for name in mart_schema(mart).names if name != PART]
    found = _through(_sources(load_marts()[mart].sql, names))
    return {column: sorted(sources) for column, sources in found.items() if sources}


def main() -> None:
    """Write the file."""
    told = {name: {"sql": mart.sql_hash, "columns": lineage_of(name)} for name, mart in sorted(load_marts().items())}
    FILE.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
