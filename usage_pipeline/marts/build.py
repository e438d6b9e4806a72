"""Building marts incrementally: a day is computed again exactly when what it is made of has changed.

Put the computation and the commit here; what has changed is told by fingerprints.py, what a mart's table is by
tables.py, locking and publishing are warehouse.py's.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import Schema as DeltaSchema

from usage_pipeline.lake.catalog import create_views
from usage_pipeline.lake.engine import identifier, literal, workspace
from usage_pipeline.lake.notes import ALONE
from usage_pipeline.lake.schemas import PART, part_format, storage_parts
from usage_pipeline.lake.seals import forget_seals
from usage_pipeline.lake.snapshot import Pinned, Relation, Snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.derived import GROUPED_VIEWS, SHARED_VIEWS
from usage_pipeline.marts.fingerprints import (
    Contents,
    DayPrints,
    Memory,
    announce,
    fingerprints,
    note_of,
    remember,
)
from usage_pipeline.marts.registry import Mart, load_marts
from usage_pipeline.marts.spark import NOTHING_GROUPED, Grouped, Spark
from usage_pipeline.marts.tables import pin_mart
from usage_pipeline.marts.tasks import Task, groups, portions
from usage_pipeline.progress import Tell, tell_nobody

_ALL = "all"  # the storage partition of a mart of scope whole
_WANTED = pa.schema([("organization", pa.string()), ("date", pa.date32())])
_Of = tuple[tuple[str, ...], tuple[date, ...]]  # organizations and days


@dataclass(frozen=True, kw_only=True, slots=True)
class MartBuild:
    """What one build of a mart did: the days computed and the rows they have now."""

    mart: str
    days: tuple[date, ...]
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What was done for each mart, and the versions the marts have now."""

    builds: list[MartBuild]
    pinned: dict[str, Pinned]


def build_marts(
    lake: Lake,
    contents: Contents,
    names: Iterable[str] | None = None,
    *,
    tell: Tell = tell_nobody,
    spark: Spark | None = None,
) -> Built:
    """Bring marts (all, or the named ones and what they read) up to date with what a snapshot holds.

    The caller holds the warehouse's lock: two builders of different snapshots would mix them. With `spark` the rows of
    usage are grouped there.

    Raises:
        FixConfig, RetryLater: Spark is not there, or failed; no mart was changed.
        CommitConflict: another host, which has a lock of its own, built meanwhile; what was built is to be built anew.
    """
    with workspace() as con:
        builder = _Builder(con, lake, contents.snapshot, Memory(lake))
        try:
            builds = _build_marts(builder, contents, names, tell, spark)
            return Built(builds=builds, pinned={one.mart: builder.pinned(one.mart) for one in builds})
        finally:  # one mart that fails must not make the others forget
            remember(builder.memory, builder.notes)


def _with_upstream(marts: Mapping[str, Mart], names: Iterable[str]) -> list[str]:
    """The named marts and all they read, in building order."""
    wanted = set(names)
    for name in reversed(list(marts)):
        if name in wanted:
            wanted |= marts[name].marts
    return [name for name in marts if name in wanted]


@dataclass(frozen=True, slots=True)
class _Builder:
    """Computes marts over one snapshot, on one connection: what its files' footers say is read once."""

    con: duckdb.DuckDBPyConnection
    lake: Lake
    snapshot: Snapshot
    memory: Memory
    # Shared derived tables that were computed, and for which organizations and days.
    shared: dict[str, _Of] = field(default_factory=dict)

    notes: list[dict[str, Any]] = field(default_factory=list)
    # The views there are, by their SQL: to make one is to open the files it reads.
    views: dict[tuple[str, str], str] = field(default_factory=dict)
    # Versions of the marts: nobody else writes them meanwhile.
    pins: dict[str, Pinned] = field(default_factory=dict)
    # What another engine computed.
    grouped: Grouped = NOTHING_GROUPED

    def pinned(self, name: str) -> Pinned:
        """The newest version of a mart."""
        if name not in self.pins:
            self.pins[name] = pin_mart(self.lake, name)
        return self.pins[name]

    def is_readable(self, name: str) -> bool:
        """Whether a mart's table has all its files; one that lost some is put aside to be computed again, whole."""
        pinned = self.pinned(name)
        if pinned.at is not None and all(Path(file).exists() for file in pinned.files()):
            return True
        pinned.table.put_aside()
        forget_seals(self.lake.root, pinned.table.path)
        del self.pins[name]
        return False

    def organizations(self, name: str) -> set[str]:
        """Whose rows a mart's table holds."""
        pinned = self.pinned(name)
        return pinned.table.organizations(pinned.at)

    def rebuild(
        self, mart: Mart, organizations: tuple[str, ...], days: list[date], *, keeps_others: bool
    ) -> Mapping[str, int]:
        """Compute the days of the organizations and replace them (or all of theirs) in the mart; returns their rows."""
        rows = self._compute(mart, organizations, days)
        table = self.lake.mart(mart.name, rows.schema)
        at = self.pinned(mart.name).at or table.create()
        if at.schema() != DeltaSchema.from_arrow(rows.schema):
            table.overwrite(rows.schema.empty_table(), at)  # the query has other columns: every day is new anyway
        table.replace(
            at,
            rows,
            organizations=organizations,
            days=days if keeps_others and not mart.is_whole else None,
            parts=storage_parts(days) if keeps_others and not mart.is_whole else None,
            note={"mart": mart.name, "days": len(days)},
            claims=[ALONE] if self.lake.mirror is not None else (),
        )
        self.pins[mart.name] = Pinned(table, at)  # delta-rs has made it the version that was written
        return {one["values"]: one["counts"] for one in rows["organization"].value_counts().to_pylist()}

    def _compute(self, mart: Mart, organizations: tuple[str, ...], days: Collection[date]) -> pa.Table:
        """Run the mart's query over the given days of the organizations only."""
        wanted = pa.Table.from_pylist(
            [{"organization": one, "date": day} for one in organizations for day in sorted(days)], schema=_WANTED
        )
        parts = {(one, part) for one in organizations for part in (*storage_parts(days), _ALL)}
        part = literal(_ALL) if mart.is_whole else f"strftime(date, {literal(part_format('1d'))})"
        self.con.register("wanted", wanted)
        # Only what the query stands on.
        self._show(self.snapshot.usage_relations(organizations, days, mart.endpoints))
        self._show(self.snapshot.dim_relations(mart.dims))
        if mart.needs_billed_days:
            billed = self.snapshot.billed_days()
            billed = replace(billed, sql=f"{billed.sql} semi join wanted using (organization, date)")
            self._show([billed])
        self._show([self._reduced(name, parts) for name in mart.marts])
        for relation in mart.derived:
            self._derive(relation, (organizations, tuple(sorted(days))))
        order = ", ".join(identifier(column) for column in mart.grain)
        query = f"select *, {part} as {PART} from ({mart.sql}) order by {order}"  # noqa: S608 - own text
        computed: pa.Table = self.con.sql(query).to_arrow_table()
        return computed

    def _show(self, relations: Iterable[Relation]) -> None:
        """Make the views that are not there as they are to be."""
        for relation in relations:
            name = (relation.schema, relation.name)
            if self.views.get(name) != relation.sql:
                create_views(self.con, [relation])
                self.views[name] = relation.sql

    def _derive(self, relation: Relation, of: _Of) -> None:
        """Make a derived view; what several marts read of the same days is computed once."""
        if relation.name in self.grouped.files:
            self._show([self.grouped.relation(relation, *of)])
        elif relation.name not in SHARED_VIEWS:
            self._show([relation])
        elif self.shared.get(relation.name) != of:
            self.con.execute("create schema if not exists derived")
            self.con.execute(f"create or replace table derived.{identifier(relation.name)} as {relation.sql}")
            self.shared[relation.name] = of

    def _reduced(self, name: str, parts: Collection[tuple[str, str]]) -> Relation:
        """Another mart's rows of the wanted days, or of the organization where it is of scope whole."""
        scan = self.pinned(name).scan(parts, leave_out=[PART])
        key = "organization" if load_marts()[name].is_whole else "organization, date"
        sql = f"select * from ({scan}) semi join wanted using ({key})"  # noqa: S608 - own file list
        return Relation(schema="marts", name=name, sql=sql, comment="")


def _build_marts(
    builder: _Builder, contents: Contents, names: Iterable[str] | None, tell: Tell, spark: Spark | None
) -> list[MartBuild]:
    marts = load_marts()
    wanted = _with_upstream(marts, marts if names is None else names)
    tasks = _tasks(builder, contents, wanted)
    with _grouped(spark, contents, tasks, tell) as grouped:
        # Other hosts are told of every build: the versions of the marts that were pinned are then those it stands on.
        told = [one for one in tasks if one.has_before or builder.lake.mirror is not None]
        announce(builder.memory, [note_of(one.mart, one.organization, 0, one.changed) for one in told])
        return _run(replace(builder, grouped=grouped), contents, wanted, tasks, tell)


def _grouped(spark: Spark | None, contents: Contents, tasks: list[Task], tell: Tell) -> AbstractContextManager[Grouped]:
    """What the marts that are out of date need of GROUPED_VIEWS, computed by Spark; nothing without it."""
    needs = [
        (task, views)
        for task in tasks
        if (views := {one.name for one in task.mart.derived if one.name in GROUPED_VIEWS})
    ]
    if spark is None or not needs:
        return nullcontext(NOTHING_GROUPED)
    tell("grouping usage by Spark", 0, 0)
    days = {(task.organization, day) for task, _ in needs for day in task.days(contents)}
    return spark.grouped(contents.snapshot, set().union(*(views for _, views in needs)), days)


def _run(
    builder: _Builder, contents: Contents, wanted: Iterable[str], tasks: list[Task], tell: Tell
) -> list[MartBuild]:
    rows_of = {**contents.rows, **builder.grouped.rows()}  # what there is to hold in memory
    builds = {name: MartBuild(mart=name, days=(), rows=0) for name in wanted}
    for done, group in enumerate(found := groups(tasks, contents, rows_of)):
        tell("computing marts", done, len(found))
        mart, organizations = group[0].mart, tuple(task.organization for task in group)
        days, keeps_others = group[0].days(contents), group[0].has_before
        rows: Counter[str] = Counter()
        for portion in portions(mart, organizations, days, rows_of):
            # Where nothing is remembered, whatever the table holds of the organizations goes.
            rows.update(builder.rebuild(mart, organizations, portion, keeps_others=keeps_others))
            keeps_others = True
        builder.notes.extend(note_of(mart, task.organization, rows[task.organization], task.changed) for task in group)
        so_far = builds[mart.name]
        builds[mart.name] = MartBuild(
            mart=mart.name, days=(*so_far.days, *(day for _ in group for day in days)), rows=so_far.rows + rows.total()
        )
    return list(builds.values())


def _tasks(builder: _Builder, contents: Contents, wanted: Collection[str]) -> list[Task]:
    """What is out of date, in the order in which each finds right what it reads."""
    marts, built = load_marts(), builder.memory.prints
    # All at once: a table that is made anew for one organization would be missing the others' rows.
    readable = {name for name in wanted if builder.is_readable(name)}
    tasks = []
    for organization in sorted({*contents.days, *(held for held, _ in built)}):
        prints: dict[str, DayPrints] = {}
        for name in wanted:
            prints[name] = fingerprints(marts[name], organization, contents, prints)
            before = built.get((organization, name), {}) if name in readable else {}
            changed = {day: now for day, now in prints[name].items() if before.get(day) != now}
            # Days the lake no longer knows go; the empty fingerprint says that they are gone.
            changed |= {day: "" for day, now in before.items() if now and day not in prints[name]}
            if changed or (not before and organization in builder.organizations(name)):
                tasks.append(Task(marts[name], organization, changed, bool(before)))
    return tasks
