"""Whether what is published is what the service said, told from the organization itself and not through any client.

Put comparing here; it reads the published file as any DuckDB client does.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.verify import verify
from usage_pipeline_tests.simulated import rows_of

Pair = tuple[str, date]
Rows = dict[tuple[Any, ...], list[Decimal]]

_CHECKED = "select endpoint, date, checked_at from meta.coverage"
_LEDGERS = {
    "coverage": "from meta.coverage order by all",
    "restatements": "select * exclude (commit_id) from meta.restatements order by all",
}
_SCHEMAS = ("usage", "marts", "dims")


def checked(settings: Settings) -> dict[Pair, datetime]:
    """When each published day of each endpoint was last read."""
    if not settings.warehouse_path.exists():
        return {}
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        found = con.execute(_CHECKED).fetchall()
    return {(endpoint, day): at.replace(tzinfo=UTC) for endpoint, day, at in found}


def differing(
    settings: Settings, organization: Organization, clock: VirtualClock, said_at: Mapping[Pair, datetime]
) -> list[str]:
    """The days that are not, row by row, what the service said of them at the given moments; moves its clock."""
    wrong = []
    for name in sorted({name for name, _ in said_at}):
        days = {day: at for (endpoint, day), at in said_at.items() if endpoint == name}
        held = _held(settings, ENDPOINTS[name], days)
        for day, at in days.items():
            clock.set(at)
            if held.get(day, {}) != _told(organization, ENDPOINTS[name], day):
                wrong.append(f"{name} {day} is not what was said at {at:%Y-%m-%d %H:%M}")
    return wrong


def ends_well(settings: Settings) -> list[str]:
    """What is wrong with the folder as a whole: damage, marts that differ from a recompute, a replay that differs."""
    report = verify(settings)
    wrong = [f"verify: {one.part} {one.path or ''} {one.problem}" for one in report.findings]
    before = _everything(settings)
    replay(settings)
    after = _everything(settings)
    return wrong + [f"replay: {name} differs" for name in before if before[name] != after.get(name)]


def _told(organization: Organization, endpoint: Endpoint, day: date) -> Rows:
    """The day's rows by their dimensions, as the service would answer now; a measure left out counts as none."""
    return _summed(endpoint, rows_of(organization, endpoint.name, day))


def _held(settings: Settings, endpoint: Endpoint, days: Iterable[date]) -> dict[date, Rows]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        sql = f"select * from usage.{endpoint.name} where date = any($days)"
        found = con.sql(sql, params={"days": list(days)}).to_arrow_table()
    rows: dict[date, list[dict[str, Any]]] = {}
    for row in found.to_pylist():
        rows.setdefault(row["date"], []).append(row)
    return {day: _summed(endpoint, of_day) for day, of_day in rows.items()}


def _summed(endpoint: Endpoint, rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Rows of one group added up, those of money by currency and unit too."""
    units = ("currency", "quantity_unit") if endpoint.is_money else ()
    measures = ("amount", "quantity") if endpoint.is_money else tuple(one.name for one in endpoint.measures)
    found: Rows = {}
    for row in rows:
        key = tuple(row.get(name) for name in (*endpoint.dimension_names, *units))
        sums = found.setdefault(key, [Decimal(0)] * len(measures))
        found[key] = [had + Decimal(row.get(name) or 0) for had, name in zip(sums, measures, strict=True)]
    return found


def _everything(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of all that is published and of both ledgers, in a fixed order."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        tables = con.execute("select table_schema, table_name from information_schema.tables order by all").fetchall()
        statements = _LEDGERS | {
            f"{schema}.{name}": f'from "{schema}"."{name}" order by all'
            for schema, name in tables
            if schema in _SCHEMAS
        }
        return {name: con.execute(sql).fetchall() for name, sql in statements.items()}
