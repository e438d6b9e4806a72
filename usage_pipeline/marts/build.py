"""Building marts incrementally: a day is computed again exactly when what it is made of has changed.

Put the computation and the commit here; what has changed is told by fingerprints.py, what a mart's table is by
tables.py, locking and publishing are warehouse.py's.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import Schema as DeltaSchema

from usage_pipeline.lake.catalog import create_views
from usage_pipeline.lake.engine import identifier, literal, workspace
from usage_pipeline.lake.schemas import PART, part_format, storage_parts
from usage_pipeline.lake.snapshot import Pinned, Relation, Snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.derived import SHARED_VIEWS
from usage_pipeline.marts.fingerprints import (
    Contents,
    DayPrints,
    announce,
    fingerprints,
    note_of,
    remember,
    remembered,
)
from usage_pipeline.marts.registry import Mart, load_marts
from usage_pipeline.marts.tables import pin_mart
from usage_pipeline.progress import Tell, tell_nobody

_MOST_ROWS = 200_000  # of usage and costs, that a mart is computed from at once
_ALL = "all"  # the storage partition of a mart of scope whole
_WANTED = pa.schema([("organization", pa.string()), ("date", pa.date32())])


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
    lake: Lake, contents: Contents, names: Iterable[str] | None = None, *, tell: Tell = tell_nobody
) -> Built:
    """Bring marts (all, or the named ones and what they read) up to date with what a snapshot holds.

    The caller holds the warehouse's lock: two builders of different snapshots would mix them.
    """
    with workspace() as con:
        builder = _Builder(con, lake, contents.snapshot)
        try:
            builds = _build_marts(builder, contents, names, tell)
            return Built(builds=builds, pinned={one.mart: builder.pinned(one.mart) for one in builds})
        finally:  # one mart that fails must not make the others forget
            remember(lake, builder.notes)


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
    # Shared derived tables that were computed, and for which organization and days.
    shared: dict[str, tuple[str, tuple[date, ...]]] = field(default_factory=dict)

    notes: list[dict[str, Any]] = field(default_factory=list)
    # The views there are, by their SQL: to make one is to open the files it reads.
    views: dict[tuple[str, str], str] = field(default_factory=dict)
    # Versions of the marts: nobody else writes them meanwhile.
    pins: dict[str, Pinned] = field(default_factory=dict)

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
        del self.pins[name]
        return False

    def organizations(self, name: str) -> set[str]:
        """Whose rows a mart's table holds."""
        pinned = self.pinned(name)
        return pinned.table.organizations(pinned.at)

    def rebuild(self, mart: Mart, organization: str, days: list[date], *, keeps_others: bool) -> int:
        """Compute the days and replace them (or all of the organization's) in the mart; returns their rows."""
        rows = self._compute(mart, organization, days)
        table = self.lake.mart(mart.name, rows.schema)
        at = self.pinned(mart.name).at or table.create()
        if at.schema() != DeltaSchema.from_arrow(rows.schema):
            table.overwrite(rows.schema.empty_table())  # the query has other columns now, so every day is new anyway
            at = table.create()
        table.replace(
            at,
            rows,
            organization=organization,
            days=days if keeps_others and not mart.is_whole else None,
            parts=storage_parts(days) if keeps_others and not mart.is_whole else None,
            note={"mart": mart.name, "days": len(days)},
        )
        self.pins[mart.name] = Pinned(table, at)  # delta-rs has made it the version that was written
        return int(rows.num_rows)

    def _compute(self, mart: Mart, organization: str, days: Collection[date]) -> pa.Table:
        """Run the mart's query over the given days only."""
        wanted = {"organization": pa.array([organization] * len(days), pa.string()), "date": pa.array(sorted(days))}
        parts = {(organization, part) for part in (*storage_parts(days), _ALL)}
        part = literal(_ALL) if mart.is_whole else f"strftime(date, {literal(part_format('1d'))})"
        self.con.register("wanted", pa.table(wanted).cast(_WANTED))
        # Only what the query stands on.
        self._show(self.snapshot.usage_relations(organization, days, mart.endpoints))
        self._show(self.snapshot.dim_relations(mart.dims))
        if mart.needs_billed_days:
            billed = self.snapshot.billed_days()
            billed = replace(billed, sql=f"{billed.sql} semi join wanted using (organization, date)")
            self._show([billed])
        self._show([self._reduced(name, parts) for name in mart.marts])
        for relation in mart.derived:
            self._derive(relation, (organization, tuple(sorted(days))))
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

    def _derive(self, relation: Relation, of: tuple[str, tuple[date, ...]]) -> None:
        """Make a derived view; what several marts read of the same days is computed once."""
        if relation.name not in SHARED_VIEWS:
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


@dataclass(frozen=True, slots=True)
class _Task:
    """A mart of an organization that is out of date: the days that changed, with what they are made of now."""

    mart: Mart
    organization: str
    changed: DayPrints
    has_before: bool

    def days(self, contents: Contents) -> list[date]:
        """The days to compute."""
        return sorted(contents.days[self.organization] if self.mart.is_whole else self.changed)


def _build_marts(builder: _Builder, contents: Contents, names: Iterable[str] | None, tell: Tell) -> list[MartBuild]:
    marts = load_marts()
    wanted = _with_upstream(marts, marts if names is None else names)
    tasks = _tasks(builder, contents, wanted)
    announce(builder.lake, [note_of(one.mart, one.organization, 0, one.changed) for one in tasks if one.has_before])
    builds = {name: MartBuild(mart=name, days=(), rows=0) for name in wanted}
    for done, task in enumerate(tasks):
        tell("computing marts", done, len(tasks))
        mart, days = task.mart, task.days(contents)
        rows, keeps_others = 0, task.has_before
        for portion in _portions(mart, task.organization, days, contents):
            # Where nothing is remembered, whatever the table holds of the organization goes.
            rows += builder.rebuild(mart, task.organization, portion, keeps_others=keeps_others)
            keeps_others = True
        builder.notes.append(note_of(mart, task.organization, rows, task.changed))
        so_far = builds[mart.name]
        builds[mart.name] = MartBuild(mart=mart.name, days=(*so_far.days, *days), rows=so_far.rows + rows)
    return list(builds.values())


def _tasks(builder: _Builder, contents: Contents, wanted: Collection[str]) -> list[_Task]:
    """What is out of date, in the order in which each finds right what it reads."""
    marts, built = load_marts(), remembered(builder.lake)
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
                tasks.append(_Task(marts[name], organization, changed, bool(before)))
    return tasks


def _portions(mart: Mart, organization: str, days: list[date], contents: Contents) -> list[list[date]]:
    """The days, in order, as many at a time as fit into memory together; all at once where the mart looks over days."""
    portions: list[list[date]] = [[]]
    rows = 0
    for day in days:
        own = contents.rows[organization, day]
        if rows + own > _MOST_ROWS and portions[-1] and not mart.is_whole:
            portions.append([])
            rows = 0
        portions[-1].append(day)
        rows += own
    return portions
