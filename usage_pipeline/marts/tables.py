"""Marts as tables of the lake: their schemas, their versions, and how readers see them.

Put questions about a mart's table here; computing what it holds is build.py's.
"""

from collections.abc import Mapping
from datetime import date
from functools import cache

import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.engine import identifier, scan_sql, session, workspace
from usage_pipeline.lake.published import shown_scan
from usage_pipeline.lake.schemas import PART, storage_parts, usage_schema
from usage_pipeline.lake.snapshot import Pinned, Relation
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.column_texts import column_texts
from usage_pipeline.marts.derived import derived_relations
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.windows import Window


def pin_mart(lake: Lake, name: str) -> Pinned:
    """The newest version of a mart, with the schema its query gives today."""
    table = lake.mart(name, mart_schema(name))
    return Pinned(table, table.open_or_none())


def mart_schema(name: str) -> pa.Schema:
    """A mart's columns and types, found by asking the engine about its query over empty tables."""
    return _mart_schemas(tuple(ENDPOINTS))[name]


@cache
def _mart_schemas(_endpoints: tuple[str, ...]) -> dict[str, pa.Schema]:
    """All of them at once, for their inputs are the same; the answer changes only with the endpoint table.

    What a query reads is an empty table, not the view behind it: to plan a view is to plan all it stands on.
    """
    schemas = {}
    with workspace() as con:
        marts = [Relation(schema="marts", name=name, sql=mart.sql, comment="") for name, mart in load_marts().items()]
        for schema in ("usage", "dims", "meta", "derived", "marts"):
            con.execute(f"create schema {schema}")
        for relation in [*_empty_relations(), *marts]:
            name = f"{relation.schema}.{identifier(relation.name)}"
            con.execute(f"create table {name} as {relation.sql}")
        for name in load_marts():
            described = con.sql(f"select *, ''::varchar as {PART} from marts.{identifier(name)}")  # noqa: S608
            schemas[name] = described.to_arrow_table().schema
    return schemas


def _empty_relations() -> list[Relation]:
    """The usage and dimension tables without any file, and the derived views over them."""
    empty = [Relation(schema="dims", name=name, sql=scan_sql(dim.schema, []), comment="") for name, dim in DIMS.items()]
    empty += [
        Relation(schema="usage", name=name, sql=scan_sql(usage_schema(row), [], leave_out=[PART]), comment="")
        for name, row in ENDPOINTS.items()
    ]
    billed = "select null::varchar as organization, null::date as date where false"
    empty.append(Relation(schema="meta", name="billed_days", sql=billed, comment=""))
    return empty + derived_relations()


def pin_marts(lake: Lake) -> dict[str, Pinned]:
    """The newest version of every mart."""
    return {name: pin_mart(lake, name) for name in load_marts()}


def mart_relations(marts: Mapping[str, Pinned]) -> list[Relation]:
    """The marts as readers of the published file see them."""
    return [
        Relation(
            schema="marts",
            name=name,
            sql=shown_scan(pinned, leave_out=[PART]),
            comment=load_marts()[name].description,
            column_comments=column_texts(one for one in pinned.table.schema.names if one != PART),
        )
        for name, pinned in marts.items()
    ]


def mart_rows(lake: Lake, name: str, organization: str, window: Window) -> dict[date, int]:
    """The rows a mart has of each day of a window; days without rows are absent."""
    pinned = pin_mart(lake, name)
    if "date" not in pinned.table.schema.names:
        return {}  # a mart over all days has none of its own
    scan = pinned.scan({(organization, part) for part in storage_parts(window.dates())})
    with session() as con:
        rows = con.execute(
            f"select date, count(*) from ({scan}) "  # noqa: S608 - own file list
            "where organization = $organization and date >= $first and date < $end group by date",
            {"organization": organization, "first": window.start.date(), "end": window.end.date()},
        ).fetchall()
    return dict(rows)
