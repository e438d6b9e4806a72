"""What is in a data folder, as hashes by table and day, and what should be there by the service's own word.

Put looking here; it uses DuckDB, delta-rs and plain requests, and none of the package's reading code.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.request import Request, urlopen

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.windows import Window

Hash = tuple[int, int]
Sums = dict[tuple[str, date, str], Decimal]

# Not of the content: which of the runs wrote it, and when that was.
_LABELS = {
    "restatements": {"sync_id", "commit_id", "recorded_at"},
    "coverage": {"changed_at", "checked_at"},
    "dims": {"valid_from", "valid_to", "first_seen", "last_seen", "deleted_at"},
}
_LEFT = (".tmp", ".tmp.wal", "#1")


@dataclass(frozen=True)
class Seen:
    """Hashes of what is published, by table (None: nothing is), and of what the lake holds, by endpoint and day."""

    published: dict[str, Hash] | None
    lake: dict[str, dict[date, Hash]]


def seen(data_dir: Path) -> Seen:
    """What the folder holds now."""
    tables = sorted(path for path in (data_dir / "lake" / "usage").glob("*") if (path / "_delta_log").exists())
    return Seen(_published(data_dir / "warehouse.duckdb"), {path.name: _days(path) for path in tables})


def _published(path: Path) -> dict[str, Hash] | None:
    if not path.exists():
        return None
    found = {}
    with duckdb.connect(str(path), read_only=True) as con:
        sql = "select table_schema, table_name, list(column_name) from information_schema.columns group by all"
        for schema, name, columns in con.execute(sql).fetchall():
            if name != "sync_log":  # a run that was killed is in it, too
                labels = _LABELS.get(schema, set()) | _LABELS.get(name, set())
                kept = ", ".join(f'"{one}"' for one in sorted(set(columns) - labels))
                found[f"{schema}.{name}"] = _hash(con, f'select {kept} from "{schema}"."{name}"')
    return found


def _hash(con: duckdb.DuckDBPyConnection, sql: str) -> Hash:
    row = con.execute(f"select count(*), coalesce(sum(hash(t)::hugeint), 0) from ({sql}) t").fetchone()
    assert row is not None
    return row[0], row[1]


def _days(table: Path) -> dict[date, Hash]:
    actions = pa.table(DeltaTable(table).get_add_actions(flatten=True))
    files = [str(table / path) for path in actions["path"].to_pylist()]
    if not files:
        return {}
    sql = "from read_parquet($files, union_by_name = true, hive_partitioning = false) t group by date"
    with duckdb.connect(":memory:") as con:
        rows = con.execute(f"select date, count(*), sum(hash(t)::hugeint) {sql}", {"files": files}).fetchall()
    return {day: (count, hashed) for day, count, hashed in rows}


def leftovers(data_dir: Path) -> Counter[str]:
    """Files that no table and no reader has a use for, by kind."""
    found = Counter("temporary file" for path in data_dir.rglob("*") if path.is_file() and path.name.endswith(_LEFT))
    found.update("workshop" for name in ("lake.replay", "lake.doctor") if (data_dir / name).exists())
    for log in (data_dir / "lake").glob("*/*/_delta_log"):
        named = {path for entry in log.glob("*.json") for path in _named(log.parent, entry)}
        found.update("data file" for path in log.parent.rglob("*.parquet") if path.parent != log and path not in named)
    return +found


def _named(table: Path, entry: Path) -> list[Path]:
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    return [table / action["add"]["path"] for action in actions if "add" in action]


def served(base_url: str, names: tuple[str, ...], window: Window) -> Sums:
    """Every additive measure of every day as the service gives it, not grouped."""
    sums: Sums = {}
    for name in names:
        path = f"{base_url}{ENDPOINTS[name].path}?bucket_width=1d&limit=31"
        path += f"&start_time={window.start_time}&end_time={window.end_time}"
        with urlopen(Request(path, headers={"Authorization": "Bearer sk-admin-test"})) as answer:  # noqa: S310
            page = json.loads(answer.read(), parse_float=Decimal)
        assert not page["has_more"]
        for bucket in page["data"]:
            day = (datetime(1970, 1, 1) + timedelta(seconds=bucket["start_time"])).date()  # noqa: DTZ001
            for result in bucket["results"]:
                for measure, value in _measured(result).items():
                    sums[name, day, measure] = sums.get((name, day, measure), Decimal(0)) + value
    return {key: value for key, value in sums.items() if value}


def _measured(result: dict[str, object]) -> dict[str, Decimal]:
    amount = result.get("amount")
    if isinstance(amount, dict):
        return {"amount": Decimal(amount["value"])}
    return {name: Decimal(value) for name, value in result.items() if isinstance(value, int)}


def held(path: Path, names: tuple[str, ...]) -> Sums:
    """The same of what is published."""
    sums: Sums = {}
    with duckdb.connect(str(path), read_only=True) as con:
        for name in names:
            for measure in ("amount",) if name == "costs" else [one.name for one in ENDPOINTS[name].measures]:
                rows = con.execute(f"select date, sum({measure}) from usage.{name} group by date").fetchall()
                sums |= {(name, day, measure): Decimal(value) for day, value in rows if value}
    return sums
