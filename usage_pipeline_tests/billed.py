"""Bills and priced usage made by hand, and the marts' queries over them: for tests of allocation and reconciliation.

Put the tables such tests fill here; no test and no assertion.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.catalog import create_views
from usage_pipeline.lake.engine import connect, scan_sql
from usage_pipeline.lake.schemas import MONEY, usage_schema
from usage_pipeline.marts.derived_lines import line_relations
from usage_pipeline.marts.registry import load_marts

Row = dict[str, Any]
DAY = "2026-11-02"

# The columns of marts.usage_priced that allocation and reconciliation read.
PRICED = pa.schema(
    [(name, pa.string()) for name in ("organization", "date", "endpoint", "project_id", "user_id", "api_key_id")]
    + [("model", pa.string()), ("batch", pa.bool_()), ("service_tier", pa.string()), ("meter", pa.string())]
    + [("quantity", pa.int64()), ("unit", pa.string()), ("estimated_cost", MONEY), ("currency", pa.string())]
    + [("price_basis", pa.string()), ("price_meter", pa.string())]
)
_TEXT_DATES = "select * replace (date::date as date) from"


class Bench:
    """An engine with empty usage tables, filled anew for each question."""

    def __init__(self, con: Any) -> None:
        self._con = con
        con.execute("create schema usage; create schema marts")
        for name, endpoint in ENDPOINTS.items():
            con.execute(f"create table usage.{name} as {scan_sql(usage_schema(endpoint), [])}")
        con.register("no_usage", pa.Table.from_pylist([], schema=PRICED))
        con.execute(f"create table marts.usage_priced as {_TEXT_DATES} no_usage")
        create_views(con, line_relations())

    def lines(self, bill: Sequence[Mapping[str, Any]]) -> list[Row]:
        """The bill with its line items parsed, in its own order."""
        self._fill(bill, ())
        return self._rows("select * from derived.cost_lines")

    def allocate(self, bill: Sequence[Mapping[str, Any]], usage: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
        """Fill the tables and spread the bill."""
        self._fill(bill, usage)
        return self._mart("cost_allocated")

    def reconcile(self, bill: Sequence[Mapping[str, Any]], usage: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
        """Fill the tables and compare the bill with its usage."""
        return self._over_allocated("reconciliation_daily", bill, usage)

    def drivers(self, bill: Sequence[Mapping[str, Any]], usage: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
        """Fill the tables and tell what was paid for."""
        return self._over_allocated("cost_drivers_daily", bill, usage)

    def _over_allocated(
        self, name: str, bill: Sequence[Mapping[str, Any]], usage: Sequence[Mapping[str, Any]]
    ) -> list[Row]:
        self._fill(bill, usage)
        self._con.execute(f"create or replace temp table spread as {load_marts()['cost_allocated'].sql}")
        self._con.execute("create or replace view marts.cost_allocated as select * from temp.spread")
        return self._mart(name)

    def _fill(self, bill: Sequence[Mapping[str, Any]], usage: Sequence[Mapping[str, Any]]) -> None:
        billed = pa.schema([field for field in usage_schema(ENDPOINTS["costs"]) if field.name not in {"date", "part"}])
        self._con.execute("delete from usage.costs; delete from usage.completions; delete from marts.usage_priced")
        self._insert("usage.costs", bill, billed.append(pa.field("date", pa.string())))
        self._insert("marts.usage_priced", usage, PRICED)
        self._con.execute(
            "insert into usage.completions by name "
            "select distinct organization, date, model from marts.usage_priced where model is not null"
        )

    def _insert(self, table: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
        self._con.register("given", pa.Table.from_pylist([dict(row) for row in rows], schema=schema))
        self._con.execute(f"insert into {table} by name {_TEXT_DATES} given")

    def _mart(self, name: str) -> list[Row]:
        mart = load_marts()[name]
        return self._rows(f"select * from ({mart.sql}) order by {', '.join(mart.grain)}")

    def _rows(self, sql: str) -> list[Row]:
        found: list[Row] = self._con.sql(sql).to_arrow_table().to_pylist()
        return found


@contextmanager
def open_bench() -> Iterator[Bench]:
    """A bench of its own."""
    with connect() as con:
        yield Bench(con)


def cost(line_item: str | None, amount: Decimal | str | int | None, **more: Any) -> Row:
    """A billed row of project p."""
    value = None if amount is None else Decimal(amount)
    row = {"organization": "o", "date": DAY, "project_id": "p", "line_item": line_item, "amount": value}
    return {**row, "currency": "usd", **more}


def used(meter: str, estimated: Decimal | str | int | None, **more: Any) -> Row:
    """A priced usage row of project p; unpriced where the estimate is None."""
    value = None if estimated is None else Decimal(estimated)
    row: Row = {"organization": "o", "date": DAY, "endpoint": "completions", "project_id": "p", "meter": meter}
    row |= {"model": "gpt-4o-2024-08-06", "user_id": "u", "api_key_id": "k", "quantity": 1, "unit": "tokens"}
    row |= (
        {"currency": None, "price_basis": "unpriced"} if value is None else {"currency": "usd", "price_basis": "exact"}
    )
    return {**row, "estimated_cost": value, **more}
