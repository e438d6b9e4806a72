"""What delta-rs is told when it writes: how files are made, and at which place a commit is made.

Put there how a commit reaches a local folder or a URL; what a commit holds is delta_table.py's.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake

from usage_pipeline.lake.mirror import Mirror, refuse_copy
from usage_pipeline.lake.seals import LOG

WRITER = WriterProperties(compression="ZSTD")
# Old log entries stay: they are sealed like all files, and tell a repair what was written when.
HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)
# To open a table is to read its log from the last checkpoint on: with up to 100 entries, the default, most of the work.
CHECKPOINT_EVERY = 10
_ROWS_AT_ONCE = 8192  # handed to delta-rs: it holds several times what it is given at once
_PROPERTIES = {"delta.checkpointInterval": str(CHECKPOINT_EVERY)}


@contextmanager
def committing(mirror: Mirror | None, path: Path, at: DeltaTable) -> Iterator[DeltaTable]:
    """The table to give to delta-rs for a commit upon a version; afterwards that is the version that was written.

    Of a working copy it is the same version of the table at the URL, and what was committed there is brought here.

    Raises:
        FixConfig: the folder is a working copy, and it was not said of what; nothing was written.
    """
    if mirror is None:
        refuse_copy(path.parents[2])
        yield at
        return
    mirror.begin_writing()
    with mirror.objects.explained():
        there = _there(mirror, path, at.version())
        yield there
    mirror.opened[path] = there
    mirror.take_log(path)
    at.load_as_version(there.version())


def _there(mirror: Mirror, path: Path, version: int) -> DeltaTable:
    """The version of the table at the URL, out of what the last commit of this process opened where that will do."""
    found = mirror.opened.pop(path, None)  # taken away: it is of one thread at a time
    if found is not None and found.version() < version:
        found.update_incremental()
    if found is not None and found.version() == version:
        return found
    return DeltaTable(
        f"{mirror.url}/{mirror.key(path)}", version=version, storage_options=mirror.objects.delta_options()
    )


def create_table(mirror: Mirror | None, path: Path, schema: pa.Schema, partition_by: Sequence[str]) -> None:
    """Make an empty table; at a URL only where no other writer has put a first entry of its log meanwhile."""
    if mirror is None:
        refuse_copy(path.parents[2])
        _create(path, schema, partition_by)
        return
    with tempfile.TemporaryDirectory() as folder:
        _create(Path(folder), schema, partition_by)
        (entry,) = (Path(folder) / LOG).glob("*.json")
        mirror.create_log(path, entry.read_bytes())


def _create(path: Path, schema: pa.Schema, partition_by: Sequence[str]) -> None:
    DeltaTable.create(path, schema, partition_by=list(partition_by) or None, configuration=_PROPERTIES)


def append_rows(table: DeltaTable, rows: pa.Table, properties: CommitProperties | None) -> None:
    """Add rows in one commit; a column that is new to the table becomes one of it."""
    write_deltalake(
        table,
        rows,
        mode="append",
        schema_mode="merge",
        writer_properties=WRITER,
        post_commithook_properties=HOOKS,
        commit_properties=properties,
    )


def overwrite_rows(
    table: DeltaTable, rows: pa.Table, properties: CommitProperties, *, predicate: str | None = None
) -> None:
    """Replace what the predicate says by these rows, in one commit; without one everything, columns included."""
    schema_mode: Literal["merge", "overwrite"] = "merge" if predicate else "overwrite"
    write_deltalake(
        table,
        rows.to_reader(max_chunksize=_ROWS_AT_ONCE) if predicate else rows,
        mode="overwrite",
        predicate=predicate,
        partition_by=list(table.metadata().partition_columns) or None,
        schema_mode=schema_mode,
        writer_properties=WRITER,
        post_commithook_properties=HOOKS,
        commit_properties=properties,
    )
