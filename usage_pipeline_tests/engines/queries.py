"""What every engine is asked: marts by their own SQL, and sums of what is stored, as one statement in its dialect.

Put rewriting of SQL here; how an engine gets the tables is its script's in attached/. A statement stands on tables
alone, named `usage_costs` for `usage.costs`, as some engines have no schemas: marts and derived views it reads become
CTEs of it.
"""

from collections.abc import Mapping

import sqlglot
from sqlglot import exp

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import identifier
from usage_pipeline.marts.derived import derived_relations
from usage_pipeline.marts.registry import load_marts

_DUCKDB = "duckdb"
# Sums, a mart over a mart, views over endpoints, levels, window functions, joins over days, marts over stored ones.
MARTS = (
    *("cost_daily", "cost_daily_by_project", "usage_daily_by_model", "usage_daily", "cost_by_key"),
    *("cost_by_user", "unpriced_models"),
)
# Read from the lake: whole numbers of 128 bits, of which their queries are made, are not all engines'.
_STORED_MARTS = {"cost_allocated", "usage_priced"}


def questions() -> Mapping[str, str]:
    """By name, every query as DuckDB asks it of the published file."""
    sums = {f"sums of usage.{name}": _sums_sql(name) for name in ENDPOINTS}
    return {**{f"marts.{name}": f"select * from marts.{identifier(name)}" for name in MARTS}, **sums}


def statements(dialect: str) -> dict[str, str]:
    """By name, every query as one statement of the dialect, over the tables of the lake."""
    found = {f"marts.{name}": _statement(load_marts()[name].sql, dialect) for name in MARTS}
    return {**found, **{f"sums of usage.{name}": _statement(_sums_sql(name), dialect) for name in ENDPOINTS}}


def tables() -> set[str]:
    """The tables of the lake that the statements read, as `schema.name`."""
    reads = {f"usage.{name}" for name in ENDPOINTS} | {f"marts.{name}" for name in _STORED_MARTS}
    return reads | {f"dims.{dim}" for name in MARTS for dim in load_marts()[name].dims}


def _sums_sql(name: str) -> str:
    """Rows, the first and the last moment, and the sum of each measure, as stored."""
    endpoint = ENDPOINTS[name]
    kinds = {"money": "decimal(38, 20)", "quantity": "decimal(38, 20)", "count": "bigint"}
    sums = [f"sum({identifier(m.name)})::{kinds[m.kind]} as {identifier(m.name)}" for m in endpoint.measures]
    told = ", ".join(["count(*) as stored_rows", "min(bucket_start) as first_at", "max(bucket_end) as last_at", *sums])
    return f"select {told} from usage.{identifier(name)}"


def _statement(sql: str, dialect: str) -> str:
    query = _flat(sql)
    ctes: dict[str, exp.Query] = {}
    _collect(query, ctes)
    own = query.args["with_"].expressions if "with_" in query.args else []
    if ctes:  # before the query's own, which read them
        made = [
            exp.CTE(this=behind, alias=exp.TableAlias(this=exp.to_identifier(name))) for name, behind in ctes.items()
        ]
        query.set("with_", exp.With(expressions=[*made, *own]))
    for kind in query.find_all(exp.DataType) if dialect == "clickhouse" else ():
        if kind.this == exp.DataType.Type.DATE:  # of 1970 to 2149 there
            kind.set("this", exp.DataType.Type.DATE32)
    return query.sql(dialect=dialect, comments=False)


def _flat(sql: str) -> exp.Query:
    """A query in words that all engines know, over tables named with their schema."""
    query = sqlglot.parse_one(sql, dialect=_DUCKDB)
    for select in list(query.find_all(exp.Select)):
        _write_out_group_by_all(select)
        for column in [one for one in select.expressions if isinstance(one, exp.Column) and one.table]:
            column.replace(exp.alias_(column.copy(), column.name))  # ClickHouse would call it `table.column`
    for filtered in list(query.find_all(exp.Filter)):
        _write_out_filter(filtered)
    for unnested in list(query.find_all(exp.Unnest, exp.Explode)):
        _write_out_list(unnested)
    return query


def _collect(query: exp.Query, ctes: dict[str, exp.Query]) -> None:
    """Name tables without their schema, and add what is behind marts and views, each after what it reads."""
    for table in [one for one in query.find_all(exp.Table) if one.db]:
        name, flat = table.name, f"{table.db}_{table.name}"
        table.replace(exp.alias_(exp.to_table(flat), table.alias or name, table=True))
        if flat not in ctes and (behind := _behind(table.db, name)) is not None:
            made = _flat(behind)
            _collect(made, ctes)
            ctes[flat] = made


def _behind(schema: str, name: str) -> str | None:
    """The query behind a mart or view; None for a table of the lake."""
    if schema == "marts" and name not in _STORED_MARTS:
        return load_marts()[name].sql
    return next((one.sql for one in derived_relations() if (one.schema, one.name) == (schema, name)), None)


def _write_out_group_by_all(select: exp.Select) -> None:
    group = select.args.get("group")
    if group is None or not group.args.get("all"):
        return
    keys = [one.unalias() for one in select.expressions if not one.find(exp.AggFunc)]
    select.set("group", exp.Group(expressions=[key.copy() for key in keys if not isinstance(key, exp.Literal)]))


def _write_out_filter(filtered: exp.Filter) -> None:
    """`max(x) filter (where c)` skips what `max(case when c then x end)` has nulls for."""
    counted = filtered.this.copy()
    counted.set("this", exp.Case().when(filtered.expression.this, counted.this))
    filtered.replace(counted)


def _write_out_list(unnested: exp.Expression) -> None:
    """`unnest([{a: 1}, {a: 2}]) as told` gives a row per struct: a select for each, joined by union all, does too."""
    select, told = unnested.find_ancestor(exp.Select), unnested.parent
    (items,) = unnested.find_all(exp.Array)
    parts = []
    for struct in items.expressions:
        part = select.copy()
        kept = [one for one in part.expressions if one.alias_or_name != told.alias]
        fields = [exp.alias_(field.expression.copy(), field.name) for field in struct.expressions]
        part.set("expressions", [*kept, *fields])
        parts.append(part)
    outer = select.parent.find_ancestor(exp.Select)
    select.replace(exp.union(*parts, distinct=False) if len(parts) > 1 else parts[0])
    for column in list(outer.find_all(exp.Column)):
        if column.table == told.alias:
            column.replace(exp.column(column.name))
