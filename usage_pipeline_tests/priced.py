"""The marts' own SQL over given rows in memory: for tests that need many small warehouses."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.catalog import create_views
from usage_pipeline.lake.dims import PRICES
from usage_pipeline.lake.engine import connect, scan_sql
from usage_pipeline.lake.schemas import PART, usage_schema
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.marts.derived_meters import meter_relations
from usage_pipeline.marts.registry import load_marts

DAY = date(2026, 11, 2)
Row = Mapping[str, Any]


class Bench:
    """A database whose completions and prices can be set, and asked for meters and costs."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        empty = [
            Relation(schema="usage", name=name, sql=scan_sql(usage_schema(row), [], leave_out=[PART]), comment="")
            for name, row in ENDPOINTS.items()
            if name != "completions"
        ]
        given = Relation(schema="usage", name="completions", sql="select * from completions_given", comment="")
        prices = Relation(schema="dims", name="prices", sql="select * from prices_given", comment="")
        self.use([])
        self.price([])
        create_views(con, [*empty, given, prices, *meter_relations()])

    def use(self, rows: Iterable[Row]) -> None:
        """Set the usage: completions of one organization and day unless a row says otherwise."""
        base = {"organization": "default", "date": DAY}
        schema = usage_schema(ENDPOINTS["completions"])
        self._con.register("completions_given", pa.Table.from_pylist([{**base, **row} for row in rows], schema=schema))

    def price(self, rows: Iterable[Row] | pa.Table) -> None:
        """Set the prices: a table, or overrides by what they differ in."""
        if not isinstance(rows, pa.Table):
            base = {"source": "override", "is_override": True, "match": "equals", "meter": "input", "per": 1_000_000}
            base |= {"currency": "usd", "has_threshold": False}
            given = [{"priority": place, **base, **row} for place, row in enumerate(rows)]
            rows = pa.Table.from_pylist(given, schema=PRICES.schema)
        self._con.register("prices_given", rows)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a query."""
        return self._con.sql(sql).fetchall()

    def costs(self, columns: str) -> list[tuple[Any, ...]]:
        """Columns of the mart, in their order."""
        return self.ask(f"select {columns} from ({load_marts()['usage_priced'].sql}) order by all")


@contextmanager
def open_bench() -> Iterator[Bench]:
    """A bench of its own database."""
    with connect() as con:
        yield Bench(con)
