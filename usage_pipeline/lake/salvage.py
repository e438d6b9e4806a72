"""What can still be read of a damaged table: rows of its undamaged files, and rows its commits carry.

Put reading around damage here; what raw gives is replay's, what is right is told by the coverage log.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.lake.contents import OrganizationDay, days_of, rows_of_days
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.engine import scan_sql, session
from usage_pipeline.lake.ledger import from_note
from usage_pipeline.lake.notes import COMMIT_KEY, FRESH_START
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.seals import LOG, added_files, log_actions

_WRITTEN = "written"
_RESTATEMENTS_ONCE = """
select * exclude (written) from found
qualify row_number() over (
    partition by organization, endpoint, bucket_start, bucket_width, key, commit_id order by written desc
) = 1
order by recorded_at, commit_id, date, key
"""


def salvaged_log(table: LakeTable, damaged: Collection[Path]) -> pa.Table:
    """Every row of the coverage log that a file or a commit still has, each commit once.

    Args:
        table: the coverage log.
        damaged: files that are not to be believed.
    """
    rows: dict[str, dict[str, Any]] = {}
    named: set[Path] = set()
    # What power loss tore before it was sealed is known to nobody but who reads it.
    damaged = {*damaged, *(file for file in _data_files(table, damaged) if _read(table.schema, file) is None)}
    for entry in sorted((table.path / LOG).glob("*.json")):
        if entry in damaged:
            continue
        files = added_files(table.path, entry)
        named |= set(files)
        notes = _notes(entry)
        found = [row for file in files if file not in damaged for row in _rows(table.schema, file).to_pylist()]
        if notes == [FRESH_START] and files and not set(files) & set(damaged):
            rows.clear()  # what was before was made anew; where its file is damaged, the twin before it has the rows
        found += [from_note(row) for note in notes for row in _noted(note)]
        rows.update((row["commit_id"], row) for row in found)
    for file in _data_files(table, damaged):
        if file not in named:  # a damaged entry named it
            for row in _rows(table.schema, file).to_pylist():
                rows.setdefault(row["commit_id"], row)
    ordered = sorted(rows.values(), key=lambda row: (row["committed_at"], row["commit_id"]))
    return pa.Table.from_pylist(ordered, schema=SYNC_LOG)


def _noted(note: Any) -> list[dict[str, Any]]:
    """The rows a note carries: those of a run, or one alone, as earlier versions wrote them."""
    return [row for row in (note if isinstance(note, list) else [note]) if isinstance(row, dict)]


def _notes(entry: Path) -> list[Any]:
    return [
        json.loads(action["commitInfo"][COMMIT_KEY])
        for action in log_actions(entry)
        if COMMIT_KEY in action.get("commitInfo", {})
    ]


def salvaged_rows(table: LakeTable, damaged: Collection[Path]) -> pa.Table:
    """The rows of the newest version's undamaged files; none where the log itself is damaged."""
    if any(path.parent == table.path / LOG for path in damaged):
        return table.schema.empty_table()
    gone = {str(path.resolve()) for path in damaged}
    try:
        files = [file for file in table.files(table.open()) if file not in gone]
    except DeltaError:
        return table.schema.empty_table()
    return pa.concat_tables([table.schema.empty_table(), *(_rows(table.schema, Path(file)) for file in files)])


def salvaged_restatements(table: LakeTable, damaged: Collection[Path]) -> pa.Table:
    """The restatements that undamaged files have, each once, whatever the log says: rows are only ever added.

    Superseded files have the same rows as those that took their place; of two accounts of a change the newer counts.
    """
    found = [table.schema.empty_table().append_column(_WRITTEN, pa.array([], pa.int64()))]
    for file in _since_fresh_start(table, damaged):
        rows = _rows(table.schema, file)
        found.append(rows.append_column(_WRITTEN, pa.repeat(file.stat().st_mtime_ns, rows.num_rows)))
    with session() as con:
        con.register("found", pa.concat_tables(found))
        once: pa.Table = con.sql(_RESTATEMENTS_ONCE).to_arrow_table()
    return once.cast(table.schema)


def salvaged_states(table: LakeTable, damaged: Collection[Path]) -> list[pa.Table]:
    """What a table that each commit writes whole has held, by its undamaged files, in no order."""
    files = _since_fresh_start(table, damaged)
    return [rows for file in files if (rows := _read(table.schema, file)) is not None]


def _since_fresh_start(table: LakeTable, damaged: Collection[Path]) -> list[Path]:
    """The undamaged data files but those whose rows another commit, whole itself, wrote anew: a replay may forget."""
    named, outdated = set[Path](), set[Path]()
    for entry in sorted((table.path / LOG).glob("*.json")):
        if entry in damaged:
            continue
        files = set(added_files(table.path, entry))
        if files.isdisjoint(damaged) and _notes(entry) == [FRESH_START]:
            outdated |= named
        named |= files
    return [file for file in _data_files(table, damaged) if file not in outdated]


def salvaged_days(
    table: LakeTable,
    endpoint: Endpoint,
    damaged: Collection[Path],
    recorded: dict[OrganizationDay, tuple[int, str]],
) -> Iterator[pa.Table]:
    """The recorded days that any one undamaged file holds as recorded, superseded files included."""
    left = dict(recorded)
    for file in _data_files(table, damaged):
        rows = _rows(table.schema, file)
        right = {day for day, held in days_of(endpoint, rows).items() if left.get(day) == held}
        yield rows_of_days(rows, right)
        for day in right:
            del left[day]


def _data_files(table: LakeTable, damaged: Collection[Path]) -> list[Path]:
    return [file for file in sorted(table.path.rglob("*.parquet")) if LOG not in file.parts and file not in damaged]


def _rows(schema: pa.Schema, file: Path) -> pa.Table:
    """The rows of one data file; none where it cannot be read."""
    rows = _read(schema, file)
    return schema.empty_table() if rows is None else rows


def _read(schema: pa.Schema, file: Path) -> pa.Table | None:
    try:
        with session() as con:
            rows: pa.Table = con.sql(scan_sql(schema, [str(file)])).to_arrow_table()
    except duckdb.Error:
        return None
    return rows.cast(schema)
