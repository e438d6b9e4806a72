"""One Delta table: the lake's door to delta-rs.

Put opening, reading, appending and replacing here; which tables there are is store.py's, what rows mean lives in
tables.py, ledger.py and the marts, fewer files of the same rows in compaction.py.
"""

import logging
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.engine import is_in, scan_sql
from usage_pipeline.lake.formats import refuse_newer
from usage_pipeline.lake.links import refuse_linked_table
from usage_pipeline.lake.locks import CREATE_LOCK, exclusive
from usage_pipeline.lake.mirror import Mirror
from usage_pipeline.lake.notes import ALONE, FRESH_START, NOTED_COMMITS, commit_notes, noted
from usage_pipeline.lake.schemas import PARTITION_BY
from usage_pipeline.lake.seals import LOG, forget_seals
from usage_pipeline.lake.writing import HOOKS, append_rows, committing, create_table, overwrite_rows

_APPEND_TRIES = 10

_log = logging.getLogger(__name__)

CommitConflict = CommitFailedError


@dataclass(frozen=True, slots=True)
class LakeTable:
    """One Delta table of the lake, by its place and schema; it may not exist yet.

    With a mirror its folder is a working copy: opening it brings it up to date, and commits go to the URL.
    """

    path: Path
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    mirror: Mirror | None = None

    def open(self) -> DeltaTable | None:
        """The newest version, or None where nothing was ever written."""
        if self.mirror is not None:
            self.mirror.take_log(self.path)
        try:
            return DeltaTable(self.path)
        except TableNotFoundError:
            return None

    def committing(self, at: DeltaTable) -> AbstractContextManager[DeltaTable]:
        """The table to give to delta-rs for a commit upon this version, which then is the one that was written."""
        return committing(self.mirror, self.path, at)

    def open_or_none(self) -> DeltaTable | None:
        """As `open`, and None too where the table's log cannot be read: for what can be made anew."""
        try:
            return self.open()
        except DeltaError:
            return None

    def open_with_notes(self) -> DeltaTable | None:
        """As `open_or_none`, of a usage table; None too where what its newest commits noted cannot be read.

        To open a table, and to write to it, its newest checkpoint is enough; notes are in the entries before that.
        """
        try:
            at = self.open()
            if at is not None:
                list(commit_notes(at))
        except (DeltaError, LakeDamaged):
            return None
        return at

    def newest_entry(self) -> tuple[str, int, int] | None:
        """The newest entry of the log: its name, place on disk and time. It is found, not read: that is cheap."""
        if self.mirror is not None:
            self.mirror.take_log(self.path)
        newest = max((self.path / LOG).glob("*.json"), default=None)
        try:
            found = newest.stat() if newest is not None else None
        except FileNotFoundError:  # the table is being exchanged for another one
            found = None
        return None if newest is None or found is None else (newest.name, found.st_ino, found.st_mtime_ns)

    def create(self) -> DeltaTable:
        """The newest version of the table, created empty where it does not exist.

        Of two that create it at once, delta-rs may commit the later one's schema upon the first one's rows: every
        write in between then fails. So they go one after another.

        Raises:
            LakeUnwritable: a folder on its path is a symbolic link; nothing was written.
            NewerFormat: a newer version wrote the lake; nothing was written.
            FixConfig: the folder is a working copy, and it was not said of what; nothing was written.
        """
        refuse_newer(self.path.parents[1])
        data_dir = self.path.parents[2]
        refuse_linked_table(data_dir, self.path)
        found = self.open()
        if found is not None:
            return found
        with exclusive(data_dir / CREATE_LOCK):
            if self.open() is None:
                create_table(self.mirror, self.path, self.schema, self.partition_by)
            return self.open() or DeltaTable(self.path)

    def files(self, at: DeltaTable | None, parts: Collection[tuple[str, str]] | None = None) -> list[str]:
        """Absolute paths of a version's data files (of these (organization, part) pairs); a copy then has them."""
        if at is None:
            return []
        root = self.path.resolve()
        actions = pa.table(at.get_add_actions(flatten=True))
        if parts is not None:
            columns = (actions[f"partition.{name}"].to_pylist() for name in PARTITION_BY)
            actions = actions.filter(pa.array([place in parts for place in zip(*columns, strict=True)], pa.bool_()))
        names = actions["path"].to_pylist()
        if self.mirror is not None:
            sizes = zip(names, actions["size_bytes"].to_pylist(), strict=True)
            self.mirror.take_files({self.path / name: size for name, size in sizes})
        return sorted(str(root / name) for name in names)

    def organizations(self, at: DeltaTable | None) -> set[str]:
        """The organizations a version of a partitioned table has files of."""
        if at is None:
            return set()
        return set(pa.table(at.get_add_actions(flatten=True))["partition.organization"].to_pylist())

    def written(self, at: DeltaTable) -> tuple[int, dict[Path, int]]:
        """Rows of a version, and bytes of each of its data files, by what its log says."""
        files = pa.table(at.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"]).to_pylist()
        return sum(file["num_records"] for file in files), {
            self.path / file["path"]: file["size_bytes"] for file in files
        }

    def scan(
        self,
        at: DeltaTable | None,
        parts: Collection[tuple[str, str]] | None = None,
        *,
        leave_out: Collection[str] = (),
    ) -> str:
        """SQL that reads a version's files (those of the parts) as the table's schema."""
        return scan_sql(self.schema, self.files(at, parts), leave_out=leave_out)

    def append(self, rows: pa.Table, note: Any = None) -> None:
        """Add rows in one commit; appends of several writers conflict only where one of them gives the table a column.

        `note` is a JSON-able value stored with the commit.
        """
        for _ in range(_APPEND_TRIES - 1):
            try:
                self._append(rows, note)
            except CommitFailedError:
                continue
            return
        self._append(rows, note)

    def _append(self, rows: pa.Table, note: Any) -> None:
        with self.committing(self.create()) as table:
            append_rows(table, rows, noted(note) if note else None)

    def replace(
        self,
        at: DeltaTable,
        rows: pa.Table,
        *,
        organizations: Collection[str],
        days: Collection[date] | None,
        parts: Collection[str] | None,
        note: Any,
        claims: Collection[str] = (),
    ) -> None:
        """Replace the days of these organizations by these rows in one commit.

        Args:
            at: the version the change was decided on; a later change of the same files refuses the commit.
            rows: all rows of the days; rows outside are refused by delta-rs.
            organizations: whose days.
            days: the days replaced, those without rows included; None for all.
            parts: the storage partitions the days lie in, so that other partitions are neither read nor conflict;
                None for all.
            note: JSON-able value stored with the commit.
            claims: names; a commit since `at` that claimed one of them refuses this one.

        Raises:
            CommitConflict: another writer was first; nothing was written.
        """
        conditions = [is_in("organization", organizations)]
        if parts is not None:
            conditions.append(is_in("part", parts))
        if days is not None:
            conditions.append(is_in("date", [day.isoformat() for day in days]))
        with self.committing(at) as table:
            overwrite_rows(table, rows, noted(note, at, claims), predicate=" and ".join(conditions))

    def claim(self, at: DeltaTable, claims: Collection[str], note: Any) -> None:
        """Commit a note and claims alone: what was found to be without rows then conflicts as rows would.

        Raises:
            CommitConflict: since `at` another writer claimed one of them; nothing was written.
        """
        with self.committing(at) as table:
            table.create_write_transaction(
                [],
                "append",
                at.schema(),
                partition_by=list(self.partition_by),
                commit_properties=noted(note, at, claims),
                post_commithook_properties=HOOKS,
            )

    def overwrite(self, rows: pa.Table, at: DeltaTable | None = None) -> None:
        """Replace the whole content in one commit; what earlier commits noted no longer describes it.

        Raises:
            CommitConflict: since `at`, the version this was decided on, another writer did so; nothing was written.
        """
        with self.committing(at or self.create()) as table:
            overwrite_rows(table, rows, noted(FRESH_START, at, [ALONE]))

    def renew(self, rows: pa.Table) -> None:
        """Replace the whole content, also of a table whose log cannot be read: that is put aside first."""
        try:
            at = self.open()
            if at is not None:
                at.history(NOTED_COMMITS)
        except DeltaError:
            self.put_aside()
            self.overwrite(rows)
            forget_seals(self.path.parent.parent, self.path)
        else:
            self.overwrite(rows)

    def put_aside(self) -> None:
        """Rename the table's folder, where it has a log, so that it can be made anew and still be looked at.

        Its seals stay for the caller to forget: killed in between, nothing else tells that the table was there.
        Raises LakeDamaged in a working copy: nothing can be renamed at the URL while others write there.
        """
        if (self.path / LOG).exists():
            if self.mirror is not None:
                raise self.mirror.unreadable(self.path)
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            self.path.rename(aside)
            _log.warning("%s could not be read whole; it is kept as %s and made anew.", self.path, aside.name)
