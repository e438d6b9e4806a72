"""The coverage log and the restatement ledger: what was read when, what it covered, what it changed.

Put reading and writing of `meta.sync_log` and `meta.restatements` here; deciding what changed is replace.py's.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.lake.engine import session
from usage_pipeline.lake.landing import landed_path
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.store import Lake, commit_notes
from usage_pipeline.windows import Window

# A commit counts once even where a crash recovery and its writer both recorded it.
SYNC_LOG_ONCE = "select * from ({scan}) qualify row_number() over (partition by commit_id order by committed_at) = 1"

_DAY_STATES = """
with log as ({log}),
mine as (
    select * from log
    where organization = $organization and endpoint = $endpoint
      and window_start < $window_end and window_end > $window_start
),
contents as (
    select unnest(days, recursive := true), fetched_at, bucket_width from mine where len(days) > 0
)
select
    c.date,
    arg_max(c.content_hash, c.fetched_at) as content_hash,
    arg_max(c.rows, c.fetched_at) as rows,
    max(c.fetched_at) as changed_at,
    (
        select max(m.fetched_at) from mine m
        where m.window_start < c.date + interval 1 day and m.window_end > c.date::timestamp
          and m.fetched_at < coalesce($as_of::timestamp, m.fetched_at + interval 1 second)
    ) as checked_at
from contents c
group by c.date
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DayState:
    """What the lake holds of a day: its content hash and rows, when they were fetched, when they were last checked."""

    content_hash: str
    rows: int
    changed_at: datetime
    checked_at: datetime


def day_states(
    lake: Lake, organization: str, endpoint: str, window: Window, *, as_of: datetime | None = None
) -> dict[date, DayState]:
    """The known days of a window; a day that is absent was never read.

    With `as_of`, reads that began then or later do not count as checks: replay then decides as the first run did.
    """
    found = lake.sync_log.open()
    if found is None:
        return {}
    log = SYNC_LOG_ONCE.format(scan=lake.sync_log.scan(found))
    with session() as con:
        rows = con.execute(
            _DAY_STATES.format(log=log),
            {
                "organization": organization,
                "endpoint": endpoint,
                "window_start": naive(window.start),
                "window_end": naive(window.end),
                "as_of": naive(as_of) if as_of is not None else None,
            },
        ).fetchall()
    return {
        day: DayState(
            content_hash=content_hash,
            rows=rows_of_day,
            changed_at=changed_at.replace(tzinfo=UTC),
            checked_at=(checked_at or changed_at).replace(tzinfo=UTC),
        )
        for day, content_hash, rows_of_day, changed_at, checked_at in rows
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedRead:
    """One row of the coverage log, as far as replay needs it to repeat what was done."""

    organization: str
    endpoint: str
    sync_id: str
    commit_id: str
    outcome: str
    window: Window
    fetched_at: datetime


def accepted_reads(lake: Lake) -> list[AcceptedRead]:
    """Every row of the coverage log, in the order the reads began."""
    found = lake.sync_log.open()
    if found is None:
        return []
    columns = "organization, endpoint, sync_id, commit_id, outcome, window_start, window_end, fetched_at"
    log = SYNC_LOG_ONCE.format(scan=lake.sync_log.scan(found))
    with session() as con:
        rows = con.execute(f"select {columns} from ({log}) order by fetched_at, committed_at").fetchall()  # noqa: S608
    return [
        AcceptedRead(
            organization=organization,
            endpoint=endpoint,
            sync_id=sync_id,
            commit_id=commit_id,
            outcome=outcome,
            window=Window(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)),
            fetched_at=fetched_at.replace(tzinfo=UTC),
        )
        for organization, endpoint, sync_id, commit_id, outcome, start, end, fetched_at in rows
    ]


def accepted_files(reads: Iterable[AcceptedRead]) -> set[str]:
    """The raw files, by their paths in the data folder, of the reads that brought something new."""
    return {
        str(landed_path(Path("raw"), one.organization, one.endpoint, one.fetched_at, one.sync_id, one.window))
        for one in reads
        if one.outcome == "replaced"
    }


def forget_days(lake: Lake, endpoint: str, days: Collection[tuple[str, date]]) -> pa.Table:
    """The coverage log as if the (organization, day) pairs of the endpoint had never been read."""
    with session() as con:
        rows = con.sql(lake.sync_log.scan(lake.sync_log.open())).to_arrow_table().to_pylist()
    for row in rows:
        if row["endpoint"] == endpoint:
            row["days"] = [one for one in row["days"] if (row["organization"], one["date"]) not in days]
    return pa.Table.from_pylist(rows, schema=SYNC_LOG)


def record_sync(lake: Lake, row: Mapping[str, Any]) -> None:
    """Append one row to the coverage log; the commit carries it too, so that one damaged file does not lose it."""
    lake.sync_log.append(pa.Table.from_pylist([dict(row)], schema=SYNC_LOG), note=to_note(row))


def recover(lake: Lake, tables: Iterable[DeltaTable]) -> None:
    """Record commits whose writer was killed after changing a table and before logging it."""
    for note in unrecorded(lake, tables):
        record_sync(lake, from_note(note))


def unrecorded(lake: Lake, tables: Iterable[DeltaTable]) -> list[Mapping[str, Any]]:
    """Notes of the commits that are not in the coverage log, oldest first in each table."""
    known: set[str] | None = None
    found: list[Mapping[str, Any]] = []
    for table in tables:
        missing: list[Mapping[str, Any]] = []
        for note in commit_notes(table):
            known = _known_commits(lake) if known is None else known
            if note["commit_id"] in known:
                break
            missing.append(note)
        found += reversed(missing)
    return found


def _known_commits(lake: Lake) -> set[str]:
    found = lake.sync_log.open()
    if found is None:
        return set()
    with session() as con:
        rows = con.execute(f"select commit_id from ({lake.sync_log.scan(found)})")  # noqa: S608
        return {commit_id for (commit_id,) in rows.fetchall()}


def to_note(row: Mapping[str, Any]) -> dict[str, Any]:
    """A coverage log row as JSON-able values, to travel with the commit it describes."""
    return {name: _to_json(value) for name, value in row.items()}


def from_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """The coverage log row a commit carries."""
    row = dict(note)
    for field in SYNC_LOG:
        if pa.types.is_timestamp(field.type):
            row[field.name] = datetime.fromisoformat(note[field.name])
    row["days"] = [{**day, "date": date.fromisoformat(day["date"])} for day in note["days"]]
    return row


def _to_json(value: Any) -> Any:
    if isinstance(value, date):  # datetime is one too
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_to_json(inner) for inner in value]
    return value


def naive(moment: datetime) -> datetime:
    """An aware UTC time as the zone-less UTC time the lake stores."""
    return moment.astimezone(UTC).replace(tzinfo=None)
