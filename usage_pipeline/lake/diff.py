"""What changes between the stored rows of some days and the newly read ones, row by row.

Put the comparison and the ledger rows it yields here; writing them is replace.py's.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.lake.engine import identifier, scan_sql, session
from usage_pipeline.lake.ledger import DayState, naive
from usage_pipeline.lake.schemas import PART, RESTATEMENTS, usage_schema

_STATEMENT = """
select
    $organization as organization,
    $endpoint as endpoint,
    coalesce(n.date, o.date) as date,
    coalesce(n.bucket_start, o.bucket_start) as bucket_start,
    coalesce(n.bucket_width, o.bucket_width) as bucket_width,
    case when o.date is null then 'inserted' when n.date is null then 'deleted' else 'updated' end as change,
    coalesce(n.bucket_end, o.bucket_end) > known.checked_at as was_provisional,
    to_json(case when n.date is null then {old_key} else {new_key} end)::varchar as key,
    case when o.date is not null then to_json({old_values})::varchar end as before,
    case when n.date is not null then to_json({new_values})::varchar end as after,
    $recorded_at::timestamp as recorded_at,
    $sync_id as sync_id,
    $commit_id as commit_id,
    known.date is not null as was_known
from new_rows n
full join old_rows o on {same_key}
left join known on known.date = coalesce(n.date, o.date)
where o.date is null or n.date is null or {new_values} is distinct from {old_values}
order by all
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """Counts of changed rows, and the ledger rows of those that lie in days known before."""

    inserted: int
    updated: int
    deleted: int
    restatements: pa.Table

    @classmethod
    def none(cls) -> "Changes":
        """No change at all."""
        return cls(inserted=0, updated=0, deleted=0, restatements=RESTATEMENTS.empty_table())

    @property
    def restated(self) -> int:
        """Changed rows of buckets that were already closed when they were last read."""
        return sum(not was for was in self.restatements["was_provisional"].to_pylist())


def compare(
    endpoint: Endpoint,
    organization: str,
    *,
    new_rows: pa.Table,
    old_files: list[str],
    days: Collection[date],
    known: Mapping[date, DayState],
    labels: Mapping[str, Any],
) -> Changes:
    """Compare the days' new rows with those in the files.

    Args:
        endpoint: whose grain identifies a row.
        organization: whose rows count in the files.
        new_rows: all rows of the days as just read.
        old_files: data files that hold the days' stored rows, others among them.
        days: the days compared.
        known: state of the days read before; changes in other days are first loads, not restatements.
        labels: `recorded_at`, `sync_id` and `commit_id` to write beside each change.
    """
    with session() as con:
        stored = _stored_days(con, endpoint, organization, old_files, days)
        first = [day for day in days if day not in stored and day not in known]
        if first:  # there is nothing to join with
            is_first = pc.is_in(new_rows["date"], pa.array(first, pa.date32()))
            loaded, new_rows = pc.sum(is_first).as_py() or 0, new_rows.filter(pc.invert(is_first))
        else:
            loaded = 0
        if len(first) == len(days):
            return replace(Changes.none(), inserted=loaded)
        _load(con, endpoint, organization, new_rows, old_files, days, known)
        found: pa.Table = con.sql(
            _statement(endpoint), params={"organization": organization, "endpoint": endpoint.name, **labels}
        ).to_arrow_table()
    changes = found["change"].to_pylist()
    known_rows = found.filter(found["was_known"]).drop_columns(["was_known"])
    return Changes(
        inserted=loaded + changes.count("inserted"),
        updated=changes.count("updated"),
        deleted=changes.count("deleted"),
        restatements=known_rows.cast(RESTATEMENTS),
    )


def _stored_days(
    con: duckdb.DuckDBPyConnection, endpoint: Endpoint, organization: str, old_files: list[str], days: Collection[date]
) -> set[date]:
    """Those of the days that the files hold rows of."""
    if not old_files:
        return set()
    scan = scan_sql(usage_schema(endpoint), old_files)
    found = con.execute(
        f"select distinct date from ({scan}) where organization = $organization and date in (select unnest($days))",  # noqa: S608 - own file list
        {"organization": organization, "days": sorted(days)},
    ).fetchall()
    return {day for (day,) in found}


def _load(
    con: duckdb.DuckDBPyConnection,
    endpoint: Endpoint,
    organization: str,
    new_rows: pa.Table,
    old_files: list[str],
    days: Collection[date],
    known: Mapping[date, DayState],
) -> None:
    """Put both sides, and what is known of the days, where the statement reads them."""
    con.register("new_rows", new_rows)
    con.register("wanted", pa.table({"date": pa.array(sorted(days), pa.date32())}))
    con.register(
        "known",
        pa.table(
            {
                "date": pa.array(list(known), pa.date32()),
                "checked_at": pa.array([naive(state.checked_at) for state in known.values()], pa.timestamp("us")),
            }
        ),
    )
    scan = scan_sql(usage_schema(endpoint), old_files, leave_out=[PART])
    con.execute(
        f"create temp table old_rows as select * from ({scan}) "  # noqa: S608 - own file list; values are parameters
        "where organization = $organization and date in (select date from wanted)",
        {"organization": organization},
    )


def ledger_struct(side: str, fields: Iterable[pa.Field]) -> str:
    """SQL of one side's columns as a ledger row holds them; money as text, for JSON numbers may be read as floats."""
    parts = (
        f"{identifier(f.name)} := {side}.{identifier(f.name)}{'::varchar' if pa.types.is_decimal(f.type) else ''}"
        for f in fields
    )
    return f"struct_pack({', '.join(parts)})"


def _statement(endpoint: Endpoint) -> str:
    """The comparison for this endpoint's columns."""
    schema = usage_schema(endpoint)
    grain = set(endpoint.grain)
    fixed = {"organization", "date", "bucket_start", "bucket_end", "bucket_width", PART}
    values = [f for f in schema if f.name not in fixed and f.name not in grain]
    same = ["n.bucket_start = o.bucket_start", "n.bucket_width = o.bucket_width"]
    same += [f"n.{identifier(name)} is not distinct from o.{identifier(name)}" for name in endpoint.grain]

    def packed(side: str, fields: list[pa.Field]) -> str:
        return ledger_struct(side, fields)

    keys = [schema.field(name) for name in endpoint.grain]
    return _STATEMENT.format(
        new_key=packed("n", keys),
        old_key=packed("o", keys),
        new_values=packed("n", values),
        old_values=packed("o", values),
        same_key=" and ".join(same),
    )
