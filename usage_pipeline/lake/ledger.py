"""The coverage log and the restatement ledger: what was read when, what it covered, what it changed.

Put reading and writing of `meta.sync_log` and `meta.restatements` here; deciding what changed is replace.py's.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.landing import Landed, landed_path
from usage_pipeline.lake.notes import NOTED_COMMITS, commit_notes
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.store import Lake
from usage_pipeline.windows import Window

# A commit counts once even where a crash recovery and its writer both recorded it.
SYNC_LOG_ONCE = "select * from ({scan}) qualify row_number() over (partition by commit_id order by committed_at) = 1"

_DAY_STATES = """
with mine as (
    select * from coverage_log
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
          and m.fetched_at < coalesce($began::timestamp, m.fetched_at + interval 1 second)
          and m.committed_at <= coalesce($stored::timestamp, m.committed_at)
    ) as checked_at
from contents c
group by c.date
"""


class CoverageLog:
    """The coverage log as one run sees it: read once, and again when another run has added to it.

    Rows are kept until `flush` writes all of them in one commit. A run that is killed before loses no read that wrote a
    table, for the commit carries its row. Safe to use from several threads.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._lock = threading.RLock()
        self._entry: object = None
        self._at: DeltaTable | None = None
        self._stored = SYNC_LOG.empty_table()
        self._known: frozenset[str] = frozenset()
        self._pending: list[dict[str, Any]] = []
        self._unlogged: list[dict[str, Any]] = []

    def rows(self, organization: str | None = None) -> pa.Table:
        """Every row, each commit once, with those not yet written: all of them, or the organization's alone.

        Rows that are not written yet become a table at each question: of a thousand organizations that are many.
        """
        with self._lock:
            self._read()
            waiting = (*self._unlogged, *self._pending)
            more = {row["commit_id"]: row for row in waiting if organization in (None, row["organization"])}
            new = [row for commit_id, row in more.items() if commit_id not in self._known]
            return pa.concat_tables([self._stored, pa.Table.from_pylist(new, schema=SYNC_LOG)])

    def pinned(self) -> tuple[DeltaTable | None, pa.Table]:
        """The version that is written, and its rows."""
        with self._lock:
            self._read()
            return self._at, self._stored

    def commit_ids(self) -> frozenset[str]:
        """Of every row."""
        with self._lock:
            self._read()
            return self._known.union(row["commit_id"] for row in self._pending)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row to be written."""
        with self._lock:
            self._pending.append(dict(row))

    def count_unlogged(self, table: DeltaTable | None) -> None:
        """Count what killed runs committed to a table and did not log; writing that is left to `recover`."""
        if table is not None:
            found = [from_note(note) for note in unrecorded(self, [table])]
            with self._lock:
                self._unlogged += found

    def complete(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """Write the rows of commits that their writers did not come to log."""
        for note in notes:
            self.add(from_note(note))
        self.flush()

    def flush(self) -> None:
        """Write what was added, in one commit that carries it too: one damaged file then does not lose it."""
        with self._lock:
            if self._pending:
                rows = pa.Table.from_pylist(self._pending, schema=SYNC_LOG)
                self.lake.sync_log.append(rows, note=[to_note(row) for row in self._pending])
                self._pending.clear()

    def _read(self) -> None:
        entry = self.lake.sync_log.newest_entry()  # before reading: what is added meanwhile is read the next time
        if entry != self._entry:
            self._at = self.lake.sync_log.open()
            self._stored = stored_log(self.lake.sync_log, self._at)
            self._known = frozenset(self._stored["commit_id"].to_pylist())
            self._entry = entry


def stored_log(table: LakeTable, at: DeltaTable | None) -> pa.Table:
    """The rows of a version of the coverage log, each commit once."""
    with session() as con:
        rows: pa.Table = con.sql(SYNC_LOG_ONCE.format(scan=table.scan(at))).to_arrow_table()
    return rows.cast(SYNC_LOG)


def ask_log(log: pa.Table, statement: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
    """The answer to a statement that reads the coverage log as `coverage_log`."""
    with session() as con:
        con.register("coverage_log", log)
        answer: pa.Table = con.sql(statement, params=dict(parameters or {})).to_arrow_table()
    return answer


@dataclass(frozen=True, kw_only=True, slots=True)
class DayState:
    """What the lake holds of a day: its content hash and rows, when they were fetched, when they were last checked."""

    content_hash: str
    rows: int
    changed_at: datetime
    checked_at: datetime


def day_states(
    log: CoverageLog,
    organization: str,
    endpoint: str,
    window: Window,
    *,
    as_of: tuple[datetime, datetime] | None = None,
) -> dict[date, DayState]:
    """The known days of a window; a day that is absent was never read.

    With `as_of`, when a read began and was stored, reads that began then or later, or were stored later, do not count
    as checks: replay then decides as the first run did.
    """
    found = ask_log(
        log.rows(organization),
        _DAY_STATES,
        {
            "organization": organization,
            "endpoint": endpoint,
            "window_start": naive(window.start),
            "window_end": naive(window.end),
            "began": naive(as_of[0]) if as_of is not None else None,
            "stored": naive(as_of[1]) if as_of is not None else None,
        },
    )
    return {
        row["date"]: DayState(
            content_hash=row["content_hash"],
            rows=row["rows"],
            changed_at=row["changed_at"].replace(tzinfo=UTC),
            checked_at=(row["checked_at"] or row["changed_at"]).replace(tzinfo=UTC),
        )
        for row in found.to_pylist()
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

    def supersedes(self, landed: Landed) -> bool:
        """Whether it was read later than the landed one, and some of the same days."""
        return (
            (self.organization, self.endpoint) == (landed.organization, landed.endpoint)
            and self.fetched_at > landed.fetched_at
            and self.window.start < landed.window.end
            and self.window.end > landed.window.start
        )


def accepted_reads(log: pa.Table) -> list[AcceptedRead]:
    """Every row of the coverage log, in the order the reads began."""
    ordered = log.drop_columns(["days"]).sort_by([("fetched_at", "ascending"), ("committed_at", "ascending")])
    return [
        AcceptedRead(
            organization=row["organization"],
            endpoint=row["endpoint"],
            sync_id=row["sync_id"],
            commit_id=row["commit_id"],
            outcome=row["outcome"],
            window=Window(row["window_start"].replace(tzinfo=UTC), row["window_end"].replace(tzinfo=UTC)),
            fetched_at=row["fetched_at"].replace(tzinfo=UTC),
        )
        for row in ordered.to_pylist()
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
    rows = stored_log(lake.sync_log, lake.sync_log.open()).to_pylist()
    for row in rows:
        if row["endpoint"] == endpoint:
            row["days"] = [one for one in row["days"] if (row["organization"], one["date"]) not in days]
    return pa.Table.from_pylist(rows, schema=SYNC_LOG)


def recover(log: CoverageLog, tables: Iterable[DeltaTable]) -> None:
    """Record commits whose writer was killed after changing a table and before logging it."""
    missing = unrecorded(log, tables)
    if missing:
        log.complete(missing)


def unrecorded(log: CoverageLog, tables: Iterable[DeltaTable]) -> list[Mapping[str, Any]]:
    """Notes of the commits that are not in the coverage log, oldest first in each table."""
    found: list[Mapping[str, Any]] = []
    known = log.commit_ids()
    most = NOTED_COMMITS if known else None  # of a log that is lost every commit is unrecorded
    for table in tables:
        # All of them are looked at: of two runs that wrote different days, the later commit may be logged first.
        missing = [note for note in commit_notes(table, most) if note["commit_id"] not in known]
        found += reversed(missing)
    return found


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
