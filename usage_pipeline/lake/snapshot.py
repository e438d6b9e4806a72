"""One consistent version of every table, and the relations that read it.

Put pinning, and what is asked of the pinned tables, here; what readers are shown of them is published.py's.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import LakeDamaged, WarehouseBusy
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.dims import DIMS, dim_hash
from usage_pipeline.lake.engine import literal, scan_sql, session
from usage_pipeline.lake.ledger import SYNC_LOG_ONCE, CoverageLog, ask_log, recover
from usage_pipeline.lake.schemas import PART, columns, storage_parts
from usage_pipeline.lake.store import Lake

_TRIES = 50
_AT_ONCE = 16
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

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
    _files: list[list[str]] = field(default_factory=list, repr=False, compare=False)
    _scans: dict[tuple[frozenset[tuple[str, str]] | None, tuple[str, ...]], str] = field(
        default_factory=dict, repr=False, compare=False
    )

    def files(self) -> list[str]:
        """Absolute paths of this version's files."""
        if not self._files:
            self._files.append(self.table.files(self.at))
        return self._files[0]

    def listed_scan(self, listed_by: str, *, leave_out: Collection[str] = ()) -> str:
        """SQL that reads the files an expression lists, which are to be this version's."""
        return scan_sql(self.table.schema, self.files(), leave_out=leave_out, listed_by=listed_by)

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

    def tables(self) -> list[Pinned]:
        """Every table that is pinned."""
        return [*self.usage.values(), *self.dims.values(), self.sync_log, self.restatements]

    def coverage(self) -> pa.Table:
        """The known days as a table: organization, endpoint, date, bucket_width, rows, content_hash and times."""
        if "coverage" not in self._found:
            self._found["coverage"] = coverage_of(self.log)
        return self._found["coverage"]

    def billed_days(self) -> Relation:
        """`meta.billed_days`: the closed days, whose bill was read when it had had time to come in. For marts alone."""
        money = ", ".join(literal(name) for name, endpoint in ENDPOINTS.items() if endpoint.is_money)
        log = self.log_sql()
        sql = _BILLED_DAYS.format(coverage=coverage_sql(log), log=log, endpoints=money)
        return Relation(schema="meta", name="billed_days", sql=sql, comment="Days with a complete bill.")

    def dim_relations(self, names: Collection[str]) -> list[Relation]:
        """The named dimension tables, whole."""
        return [dim_relation(name, pinned.scan()) for name, pinned in self.dims.items() if name in names]

    def dim_hashes(self) -> dict[str, str]:
        """Each dimension's content hash, without when its rows were last seen."""
        with session() as con:
            return {name: dim_hash(con.sql(pinned.scan()).to_arrow_table()) for name, pinned in self.dims.items()}

    def usage_relations(
        self, organizations: Collection[str], days: Collection[date], names: Collection[str]
    ) -> list[Relation]:
        """The named usage tables reduced to the rows in the connection's `wanted(organization, date)` table."""
        parts = {(one, part) for one in organizations for part in storage_parts(days)}
        return [
            usage_relation(
                name,
                f"select * from ({pinned.scan(parts, leave_out=[PART])}) "  # noqa: S608 - own file list
                "semi join wanted using (organization, date)",
            )
            for name, pinned in self.usage.items()
            if name in names
        ]


def check_rows(snapshot: Snapshot) -> None:
    """Compare the tables with their logs and the coverage log: files all there, as long and with as many rows as told.

    Raises:
        LakeDamaged: a table lost files or rows, or has some nobody recorded.
    """
    covered: dict[str, int] = defaultdict(int)
    for row in snapshot.coverage().to_pylist():
        covered[row["endpoint"]] += row["rows"]
    for name, pinned in snapshot.usage.items():
        pinned.files()  # of a working copy they are here after that
        rows, sizes = pinned.table.written(pinned.at) if pinned.at is not None else (0, {})
        problem = next((wrong for path, size in sizes.items() if (wrong := _wrong_length(path, size))), None)
        if problem is None and rows != covered[name]:
            problem = f"{rows} rows, {covered[name]} recorded"
        if problem is not None:
            raise LakeDamaged(
                f"usage.{name} is not what was written ({problem}): run `usage-pipeline doctor`, which rebuilds it "
                "from what is left and the raw archive. Nothing was published."
            )


def _wrong_length(path: Path, size: int) -> str | None:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    return None if found == size else f"{path} has {found} bytes, {size} written"


def coverage_sql(log: str) -> str:
    """The known days of every endpoint, by the query that reads the coverage log."""
    return _COVERAGE.format(log=log)


def coverage_of(log: pa.Table) -> pa.Table:
    """The known days, by the rows of the coverage log alone."""
    return ask_log(log, coverage_sql("select * from coverage_log"))


def usage_relation(name: str, sql: str) -> Relation:
    """An endpoint's table, read by this query."""
    endpoint = ENDPOINTS[name]
    return Relation(
        schema="usage",
        name=name,
        sql=sql,
        comment=endpoint.description,
        column_comments={column: text for column, _, text in columns(endpoint)},
    )


def dim_relation(name: str, sql: str) -> Relation:
    """A dimension, read by this query."""
    dim = DIMS[name]
    texts = {column: text for column, _, text in dim.columns}
    return Relation(schema="dims", name=name, sql=sql, comment=dim.description, column_comments=texts)


def take_snapshot(lake: Lake, *, is_recovering: bool = True) -> Snapshot:
    """Pin every table so that the coverage log describes exactly the pinned usage versions.

    What a killed writer left unlogged is logged first, unless `is_recovering` is off: then nothing is written.

    Raises:
        WarehouseBusy: writers never left a moment between two commits.
    """
    log = CoverageLog(lake)
    for _ in range(_TRIES):
        usage = _pinned(lake, lake.usage_tables())
        if is_recovering:
            recover(log, [pinned.at for pinned in usage.values() if pinned.at is not None])
        dims = {name: lake.table("dims", name, dim.schema) for name, dim in DIMS.items()}
        logged_at, log_rows = log.pinned()
        snapshot = Snapshot(
            usage,
            _pinned(lake, dims),
            Pinned(lake.sync_log, logged_at),
            Pinned(lake.restatements, lake.restatements.open()),
            log_rows,
        )
        if all(_each(lake, _is_newest, usage.values())):
            return snapshot
    raise WarehouseBusy("the lake changed at every attempt to read one version of it; run again when syncs are done.")


def lake_state(lake: Lake) -> tuple[tuple[str, int, int] | None, ...]:
    """The newest log entry of every table a snapshot pins: the same state means the same snapshot."""
    dims = (lake.table("dims", name, dim.schema) for name, dim in DIMS.items())
    return tuple(
        table.newest_entry() for table in (*lake.usage_tables().values(), *dims, lake.sync_log, lake.restatements)
    )


def _pinned(lake: Lake, tables: Mapping[str, LakeTable]) -> dict[str, Pinned]:
    return dict(zip(tables, _each(lake, lambda table: Pinned(table, table.open()), tables.values()), strict=True))


def _each(lake: Lake, ask: Callable[[_Asked], _Answer], things: Iterable[_Asked]) -> list[_Answer]:
    """The answers in order; all asked at once where each is a request to a URL."""
    if lake.mirror is None:
        return [ask(one) for one in things]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, things))


def _is_newest(pinned: Pinned) -> bool:
    newest = pinned.table.newest_entry()
    if newest is None or pinned.at is None:
        return newest is None and pinned.at is None
    return int(newest[0].partition(".")[0]) == pinned.at.version()
