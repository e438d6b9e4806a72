"""One consistent version of every table, and the relations a reader sees of it.

Put pinning and the readers' view of usage and meta tables here; writing the published file is catalog.py's.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import LakeDamaged, WarehouseBusy
from usage_pipeline.lake.dims import DIMS, dim_hash
from usage_pipeline.lake.engine import literal, session
from usage_pipeline.lake.ledger import SYNC_LOG_ONCE, CoverageLog, ask_log, recover
from usage_pipeline.lake.meta_columns import COVERAGE_COLUMNS, RESTATEMENT_COLUMNS, SYNC_LOG_COLUMNS
from usage_pipeline.lake.schemas import PART, columns, storage_parts
from usage_pipeline.lake.store import Lake, LakeTable

_TRIES = 50

# A restatement counts only when the commit it belongs to was made.
_RESTATEMENTS = "select r.* from ({scan}) r semi join ({log}) l on r.commit_id = l.commit_id"
# `{log}` is the coverage log: its files in the published file, what was read of it in a run.
_COVERAGE = """
select organization, endpoint, date,
    arg_max(bucket_width, fetched_at) as bucket_width,
    arg_max(rows, fetched_at) as rows,
    arg_max(content_hash, fetched_at) as content_hash,
    max(fetched_at) as changed_at,
    count(*) as versions
from (
    select organization, endpoint, bucket_width, fetched_at, unnest(days, recursive := true)
    from (select * exclude (rows, content_hash) from ({log}))
)
group by all
"""
# Bills run some eight hours behind (QUIRKS): a day read sooner after its end may still grow.
_BILLED_DAYS = """
select * from (
    select distinct c.organization, c.date
    from ({coverage}) c
    join ({log}) l on l.organization = c.organization and l.endpoint = c.endpoint
        and l.window_start <= c.date::timestamp and l.window_end > c.date::timestamp
        and l.fetched_at >= c.date + interval 32 hours
    where c.endpoint in ({endpoints})
)
"""
# Lookbacks are days that a sync reads again; a day read at their age or later has had its time to change.
_PUBLISHED_COVERAGE = """
select * exclude (lookback), checked_at >= date + to_days(coalesce(lookback, {default}) + 1) as is_settled
from (
    select c.*, max(l.fetched_at) as checked_at, max(b.days) as lookback
    from ({coverage}) c
    join ({log}) l on l.organization = c.organization and l.endpoint = c.endpoint
        and l.window_start < c.date + interval 1 day and l.window_end > c.date::timestamp
    left join ({lookbacks}) b on b.organization = c.organization and b.endpoint = c.endpoint
    group by all
)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """A table of the published file: schema, name, the query behind it and what people read about it."""

    schema: str
    name: str
    sql: str
    comment: str
    column_comments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A table at one version (None: nothing was ever written)."""

    table: LakeTable
    at: DeltaTable | None
    # What was asked before: listing a version's files anew for each statement that reads them would cost the most.
    _scans: dict[tuple[frozenset[tuple[str, str]] | None, tuple[str, ...]], str] = field(
        default_factory=dict, repr=False, compare=False
    )

    def scan(self, parts: Collection[tuple[str, str]] | None = None, *, leave_out: Collection[str] = ()) -> str:
        """SQL that reads this version's files."""
        key = (None if parts is None else frozenset(parts), tuple(leave_out))
        if key not in self._scans:
            self._scans[key] = self.table.scan(self.at, parts, leave_out=leave_out)
        return self._scans[key]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Versions of all usage and meta tables that belong together."""

    usage: dict[str, Pinned]
    dims: dict[str, Pinned]
    sync_log: Pinned
    restatements: Pinned
    log: pa.Table
    """The rows of the coverage log, each commit once."""
    # What was asked before.
    _found: dict[str, pa.Table] = field(default_factory=dict, repr=False, compare=False)

    def log_sql(self) -> str:
        """The coverage log, each commit once."""
        return SYNC_LOG_ONCE.format(scan=self.sync_log.scan())

    def coverage_sql(self) -> str:
        """The known days of every endpoint."""
        return _COVERAGE.format(log=self.log_sql())

    def coverage(self) -> pa.Table:
        """The known days as a table: organization, endpoint, date, bucket_width, rows, content_hash and times."""
        if "coverage" not in self._found:
            self._found["coverage"] = coverage_of(self.log)
        return self._found["coverage"]

    def billed_days(self) -> Relation:
        """`meta.billed_days`: the closed days, whose bill was read when it had had time to come in. For marts alone."""
        money = ", ".join(literal(name) for name, endpoint in ENDPOINTS.items() if endpoint.is_money)
        sql = _BILLED_DAYS.format(coverage=self.coverage_sql(), log=self.log_sql(), endpoints=money)
        return Relation(schema="meta", name="billed_days", sql=sql, comment="Days with a complete bill.")

    def relations(self, lookbacks: Mapping[tuple[str, str], int], default_lookback: int) -> list[Relation]:
        """What the published file shows of usage and meta; lookbacks in days by organization and endpoint."""
        shown = [_usage_relation(name, pinned.scan(leave_out=[PART])) for name, pinned in self.usage.items()]
        log = self.log_sql()
        shown.append(
            Relation(
                schema="meta",
                name="sync_log",
                sql=log,
                comment="One row per window read and accepted.",
                column_comments=SYNC_LOG_COLUMNS,
            )
        )
        shown.append(
            Relation(
                schema="meta",
                name="restatements",
                sql=_RESTATEMENTS.format(scan=self.restatements.scan(), log=log),
                comment="Rows that changed in days read before; was_provisional: their bucket was still open.",
                column_comments=RESTATEMENT_COLUMNS,
            )
        )
        shown.append(
            Relation(
                schema="meta",
                name="coverage",
                sql=_PUBLISHED_COVERAGE.format(
                    coverage=self.coverage_sql(),
                    log=log,
                    lookbacks=_lookbacks_sql(lookbacks),
                    default=int(default_lookback),
                ),
                comment="One row per known endpoint and day.",
                column_comments=COVERAGE_COLUMNS,
            )
        )
        return shown

    def dim_relations(self, names: Collection[str] = DIMS.keys()) -> list[Relation]:
        """The named dimension tables, whole."""
        return [
            Relation(
                schema="dims",
                name=name,
                sql=pinned.scan(),
                comment=DIMS[name].description,
                column_comments={column: text for column, _, text in DIMS[name].columns},
            )
            for name, pinned in self.dims.items()
            if name in names
        ]

    def dim_hashes(self) -> dict[str, str]:
        """Each dimension's content hash, without when its rows were last seen."""
        with session() as con:
            return {name: dim_hash(con.sql(pinned.scan()).to_arrow_table()) for name, pinned in self.dims.items()}

    def usage_relations(self, organization: str, days: Collection[date], names: Collection[str]) -> list[Relation]:
        """The named usage tables reduced to the rows in the connection's `wanted(organization, date)` table."""
        parts = {(organization, part) for part in storage_parts(days)}
        return [
            _usage_relation(
                name,
                f"select * from ({pinned.scan(parts, leave_out=[PART])}) "  # noqa: S608 - own file list
                "semi join wanted using (organization, date)",
            )
            for name, pinned in self.usage.items()
            if name in names
        ]


def _lookbacks_sql(lookbacks: Mapping[tuple[str, str], int]) -> str:
    rows = [f"({literal(who)}, {literal(endpoint)}, {days:d})" for (who, endpoint), days in sorted(lookbacks.items())]
    values = ", ".join(rows or ["(null, null, null::integer)"])
    return f"select * from (values {values}) t(organization, endpoint, days)"  # noqa: S608 - quoted literals


def check_rows(snapshot: Snapshot) -> None:
    """Compare the tables with the coverage log: files all there, and as many rows as the log counts.

    Raises:
        LakeDamaged: a table lost files or rows, or has some nobody recorded.
    """
    covered: dict[str, int] = defaultdict(int)
    for row in snapshot.coverage().to_pylist():
        covered[row["endpoint"]] += row["rows"]
    for name, pinned in snapshot.usage.items():
        gone = [file for file in pinned.table.files(pinned.at) if not Path(file).exists()]
        held = pinned.table.row_count(pinned.at)
        if gone or held != covered[name]:
            problem = f"{gone[0]} is missing" if gone else f"{held} rows, {covered[name]} recorded"
            raise LakeDamaged(
                f"usage.{name} is not what was written ({problem}): run `usage-pipeline replay`, which rebuilds it "
                "from the raw archive, or restore data/lake from a backup. Nothing was published."
            )


def coverage_of(log: pa.Table) -> pa.Table:
    """The known days, by the rows of the coverage log alone."""
    return ask_log(log, _COVERAGE.format(log="select * from coverage_log"))


def _usage_relation(name: str, sql: str) -> Relation:
    endpoint = ENDPOINTS[name]
    return Relation(
        schema="usage",
        name=name,
        sql=sql,
        comment=endpoint.description,
        column_comments={column: text for column, _, text in columns(endpoint)},
    )


def take_snapshot(lake: Lake, *, is_recovering: bool = True) -> Snapshot:
    """Pin every table so that the coverage log describes exactly the pinned usage versions.

    What a killed writer left unlogged is logged first, unless `is_recovering` is off: then nothing is written.

    Raises:
        WarehouseBusy: writers never left a moment between two commits.
    """
    log = CoverageLog(lake)
    for _ in range(_TRIES):
        usage = {name: Pinned(table, table.open()) for name, table in lake.usage_tables().items()}
        if is_recovering:
            recover(log, [pinned.at for pinned in usage.values() if pinned.at is not None])
        dims = {name: lake.table("dims", name, dim.schema) for name, dim in DIMS.items()}
        logged_at, log_rows = log.pinned()
        snapshot = Snapshot(
            usage,
            {name: Pinned(table, table.open()) for name, table in dims.items()},
            Pinned(lake.sync_log, logged_at),
            Pinned(lake.restatements, lake.restatements.open()),
            log_rows,
        )
        if all(_is_newest(pinned) for pinned in usage.values()):
            return snapshot
    raise WarehouseBusy("the lake changed at every attempt to read one version of it; run again when syncs are done.")


def lake_state(lake: Lake) -> tuple[tuple[str, int, int] | None, ...]:
    """The newest log entry of every table a snapshot pins: the same state means the same snapshot."""
    dims = (lake.table("dims", name, dim.schema) for name, dim in DIMS.items())
    return tuple(
        table.newest_entry() for table in (*lake.usage_tables().values(), *dims, lake.sync_log, lake.restatements)
    )


def _is_newest(pinned: Pinned) -> bool:
    newest = pinned.table.newest_entry()
    if newest is None or pinned.at is None:
        return newest is None and pinned.at is None
    return int(newest[0].partition(".")[0]) == pinned.at.version()
