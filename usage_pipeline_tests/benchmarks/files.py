"""Measure what small files cost a query: days of few rows, as the lake stores them, one file a day, and natively.

    uv run python -m usage_pipeline_tests.benchmarks.files [--days 365 3650] [--rows 300]

The same rows of costs, stored as many days, asked for everything and for one day. Put the ways of storing them here.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import connect, literal
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline_tests.benchmarks.measure import Cost, Laps, least_of
from usage_pipeline_tests.benchmarks.stored import days_before, read_day, store_days
from usage_pipeline_tests.benchmarks.table import Row, run
from usage_pipeline_tests.world import open_world

_LAST = date(2026, 11, 19)
_NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
_EVERYTHING = "select project_id, line_item, sum(amount) from {table} group by all"
_ONE_DAY = "select project_id, line_item, sum(amount) from {table} where date = ? group by all"
_TIMES = 5


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    for count in asked.days:
        with tempfile.TemporaryDirectory() as made, open_world(now=_NOW) as world:
            days = days_before(_LAST, count)
            settings = world.settings(Path(made) / "data")
            _store(settings, days, asked.rows)
            yield from _asked(settings, days, Path(made))


def _store(settings: Settings, days: Sequence[date], rows: int) -> None:
    """As a first load does: a window of a month or so in a commit."""
    day = read_day(settings, ENDPOINTS["costs"], _LAST, rows)
    store_days(settings, day, days, at_once=31)


def _asked(settings: Settings, days: Sequence[date], folder: Path) -> Iterator[Row]:
    lake = Lake(settings.lake_dir).usage(ENDPOINTS["costs"])
    at, middle = lake.open(), days[len(days) // 2]
    with connect() as con:
        con.execute(f"create table native as from ({lake.scan(at)}) order by date")
        by_day = folder / "days"
        by_day.mkdir()
        for day in days:
            rows = con.sql("from native where date = $day", params={"day": day}).to_arrow_table()
            pq.write_table(rows, by_day / f"{day}.parquet", compression="zstd")
        files = f"read_parquet({literal(str(by_day))} || '/*.parquet', union_by_name = true)"
        native: dict[str, Cost] = {}
        for name, table, count in (
            ("native table", "native", 1),
            ("lake, as stored", f"({lake.scan(at)})", len(lake.files(at))),
            ("a file a day", files, len(days)),
        ):
            for what, query, parameters in (("everything", _EVERYTHING, []), ("one day", _ONE_DAY, [middle])):
                cost = _least(con, query.format(table=table), parameters)
                native.setdefault(what, cost)
                yield {
                    "days": len(days), "stored as": name, "files": count, "asked": what,
                    "wall ms": round(cost.wall_seconds * 1000, 1), "CPU ms": round(cost.cpu_seconds * 1000, 1),
                    **cost.times(native[what]),
                }  # fmt: skip


def _least(con: duckdb.DuckDBPyConnection, query: str, parameters: list[date]) -> Cost:
    """What a query costs at best; the files are in the system's cache."""
    costs = []
    for _ in range(_TIMES):
        laps = Laps()
        laps.tell(query)
        assert con.execute(query, parameters).fetchall()
        laps.end()
        costs.append(laps.costs[query])
    return least_of(costs)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, nargs="+", default=[365, 3650])
    parser.add_argument("--rows", type=int, default=300, help="of each day, at most")


if __name__ == "__main__":
    run("files", __doc__, measure, _add_options)
