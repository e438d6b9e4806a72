"""A list of names made anew from what files and raw still have of it.

Put what a damaged names table is mended with here; when that is done is repairs.py's, the merge itself lake/names.py's.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.history import History
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.dims import Dim, read_dim, replace_dim
from usage_pipeline.lake.landing import landed_at
from usage_pipeline.lake.names import seen_until
from usage_pipeline.lake.salvage import salvaged_states
from usage_pipeline.lake.seals import Seals
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import lost_names
from usage_pipeline.replay import rebuild


def rebuilt_names(
    table: LakeTable, dim: Dim, damaged: Collection[Path], seals: Seals, raw: Sequence[Path], workshop: Path
) -> tuple[pa.Table, list[str]]:
    """Each organization's newest state in a file, for raw may have lost lists, and what raw's later ones add.

    Raw alone where no seal tells which files are to be believed. Second: what was read of which nothing has anything.
    """
    lake = Lake(workshop / "names")
    states = salvaged_states(table, damaged) if seals else []
    if states:
        rows = pa.concat_tables(states)
        own = [_newest(states, who) for who in sorted(set(rows["organization"].to_pylist()))]
        replace_dim(lake, dim, pa.concat_tables([rows.slice(0, 0), *own]))
    found = read_dim(lake, dim)
    rebuild(lake, History.empty(), raw)
    return read_dim(lake, dim), _lost(dim, set(lost_names(seals)) - {_name(path) for path in raw}, found)


def _name(raw: Path) -> str:
    """A raw file by its path in the data folder, as seals name it."""
    return str(Path(*raw.parts[-5:]))


def _lost(dim: Dim, names: Iterable[str], found: pa.Table) -> list[str]:
    """The newest list of each organization among the lost raw files, where it is newer than what was found in files.

    What raw's later lists say does not tell what was said in between.
    """
    newest: dict[str, datetime] = {}
    for path in map(Path, names):
        _, organization, table, *_ = path.parts
        if table == f"dims.{dim.name}":
            newest[organization] = max(landed_at(path), newest.get(organization, landed_at(path)))
    return [
        f"dims.{dim.name} of {organization}: what was read on {moment:%Y-%m-%d %H:%M} is in no file any more; the next "
        "sync reads the list as it is then"
        for organization, moment in sorted(newest.items())
        if moment > seen_until(_of(organization, found).to_pylist())
    ]


def _newest(states: Iterable[pa.Table], organization: str) -> pa.Table:
    """An organization's rows of the state that knows of its newest list; a later commit may be of another's alone."""
    return max((_of(organization, rows) for rows in states), key=lambda rows: seen_until(rows.to_pylist()))


def _of(organization: str, rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["organization"], organization))
