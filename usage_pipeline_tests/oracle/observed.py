"""What is really there: the published file as any client sees it, and the files under the data folder.

Put looking here; it uses DuckDB and delta-rs as a reader would, and none of the package's code.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from usage_pipeline_tests.oracle.memory import KEYS, VALUES, Row, View, extras_of

_MARTS = {
    "marts.cost_daily": "select date, project_id, line_item, api_key_id, currency, amount from marts.cost_daily",
    "marts.cost_daily_by_project": "select date, project_id, currency, amount from marts.cost_daily_by_project",
    "marts.usage_daily": "select date, endpoint, project_id, measure, unit, value from marts.usage_daily "
    "where measure in ('amount', 'quantity', 'input_tokens', 'output_tokens', 'num_model_requests', "
    "'input_cached_tokens')",
}
_LOG = """
select endpoint, window_start::date, window_end::date, fetched_at, outcome from meta.sync_log
"""
_RESTATED = """
select endpoint, date, change, key, was_provisional, before, after from meta.restatements
"""
# Locks and their content are no state; nor is what a replay or a killed writer left half made.
_NO_STATE = (".lock", ".tmp")


def published(path: Path) -> View | None:
    """Every published table, rows as counters, marts as sums by key; None where nothing is published."""
    if not path.exists():
        return None
    with _opened(path) as con:
        found: View = {f"usage.{name}": _usage(con, name) for name in KEYS}
        found["meta.coverage"] = Counter(con.execute("select endpoint, date, rows from meta.coverage").fetchall())
        found["meta.sync_log"] = Counter(con.execute(_LOG).fetchall())
        found["meta.restatements"] = Counter(_restated(row) for row in con.execute(_RESTATED).fetchall())
        for name, sql in _MARTS.items():
            rows = con.execute(sql).fetchall()
            found[name] = {row[:-1]: row[-1] for row in rows}
            if len(found[name]) != len(rows):
                found[name] = rows  # a repeated key: no dictionary is equal to this
    return found


@contextmanager
def _opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as it is now: to open a database for each look would cost half of it."""
    with _looking().cursor() as con:
        con.execute(f"attach '{path}' as seen (read_only)")
        con.execute("use seen")
        try:
            yield con
        finally:
            con.execute("use memory")
            con.execute("detach seen")


@cache
def _looking() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:")


def as_of(path: Path, moment: datetime) -> View:
    """What the published file says it said at a moment, of usage."""
    with _opened(path) as con:
        at = f"_as_of(timestamp '{moment.astimezone(UTC).replace(tzinfo=None)}')"
        return {f"usage.{name}": _usage(con, name, at) for name in KEYS}


def _usage(con: duckdb.DuckDBPyConnection, name: str, as_of: str = "") -> Counter[Row]:
    columns = ", ".join(("date", *KEYS[name], *VALUES[name]))
    found = con.execute(f"select {columns} from usage.{name}{as_of}").fetchall()
    return Counter((*row[:-1], _extras(row[-1])) for row in found)


def _extras(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    value = json.loads(text)
    return extras_of(value if isinstance(value, list) else [value])


def _restated(row: tuple[Any, ...]) -> Row:
    endpoint, date, change, key, was_open, before, after = row
    named = json.loads(key)
    return (
        endpoint,
        date,
        change,
        tuple(named[name] for name in KEYS[endpoint]),
        was_open,
        _first(before),
        _first(after),
    )


def _first(values: str | None) -> Decimal | None:
    first = None if values is None else next(iter(json.loads(values).values()))
    return None if first is None else Decimal(first)


def in_lake(table: Path, name: str) -> Counter[Row]:
    """The rows of an endpoint's Delta table, whether or not they are published."""
    try:
        files = DeltaTable(table)
    except TableNotFoundError:
        return Counter()
    columns = ["date", *KEYS[name], *VALUES[name]]
    paths = [str(table / path) for path in pa.table(files.get_add_actions(flatten=True))["path"].to_pylist()]
    if not paths:
        return Counter()
    chosen = ", ".join(columns)
    with _looking().cursor() as con:
        rows = con.execute(
            f"select {chosen} from read_parquet($paths, union_by_name = true)", {"paths": paths}
        ).fetchall()
    return Counter((*row[:-1], _extras(row[-1])) for row in rows)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file that is state, with its size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(_NO_STATE)
    }


def money_differs(path: Path) -> list[Row]:
    """Days and currencies whose allocated cost does not add up to the bill, exactly."""
    sums: list[dict[Row, Decimal]] = []
    with duckdb.connect(str(path), read_only=True) as con:
        for table in ("usage.costs", "marts.cost_allocated"):
            of_table: dict[Row, Decimal] = {}
            for date, currency, amount in con.execute(f"select date, currency, amount from {table}").fetchall():
                of_table[date, currency] = of_table.get((date, currency), Decimal(0)) + amount
            sums.append(of_table)
    bill, allocated = sums
    keys = sorted(bill.keys() | allocated.keys(), key=str)
    return [(*key, bill.get(key), allocated.get(key)) for key in keys if bill.get(key) != allocated.get(key)]


def all_marts(path: Path) -> dict[str, list[Row]]:
    """Every row of every published mart, in a fixed order."""
    with duckdb.connect(str(path), read_only=True) as con:
        names = con.execute("select view_name from duckdb_views() where schema_name = 'marts' order by all").fetchall()
        return {name: con.execute(f"select * from marts.{name} order by all").fetchall() for (name,) in names}
