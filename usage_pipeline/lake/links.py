"""Symbolic links inside the data folder, which would make the pipeline write, or tidy up, somewhere else.

Put refusing them here. The data folder itself may be reached through a link (volumes are mounted so), and a file that
people write (budgets.csv) may be one. Folders are looked at, never each file; this is no defence against somebody who
plants a link in the moment between this look and the write.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from usage_pipeline.errors import LakeUnwritable

_OURS = ("lake", "raw", "exports", "dagster", "warehouse.duckdb")
_LOG = "_delta_log"  # its entries are many, and delta-rs writes no existing one again
_TABLE_DEPTH = 1  # below a table: the folders of an organization's storage partitions
_LAKE_DEPTH = 2 + _TABLE_DEPTH  # below the lake: groups and tables


def refuse_links(data_dir: Path) -> None:
    """Look at everything that is written, down to the folders of the lake's storage partitions.

    Raises:
        LakeUnwritable: one of them is a symbolic link; nothing was written.
    """
    for name in _OURS:
        _refuse(data_dir / name)
    for found in _links(data_dir / "lake", _LAKE_DEPTH):
        _refuse(found)


def refuse_linked_table(data_dir: Path, table: Path) -> None:
    """Look at a table's folder and its storage partitions, and at each folder above it in the data folder.

    Raises:
        LakeUnwritable: one of them is a symbolic link; nothing was written.
    """
    refuse_linked_path(data_dir, table)
    for found in _links(table, _TABLE_DEPTH):
        _refuse(found)


def refuse_linked_path(data_dir: Path, path: Path) -> None:
    """Look at a path, and at each folder of it in the data folder.

    Raises:
        LakeUnwritable: one of them is a symbolic link; nothing was written.
    """
    place = data_dir
    for name in path.relative_to(data_dir).parts:
        place = place / name
        _refuse(place)


def _links(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_symlink():
            yield Path(entry.path)
        elif depth and entry.name != _LOG and entry.is_dir():
            yield from _links(Path(entry.path), depth - 1)


def _refuse(path: Path) -> None:
    if path.is_symlink():
        raise LakeUnwritable(
            f"{path} is a symbolic link to {path.readlink()}: nothing is written through links inside the data folder. "
            "Put the folder or file itself there (or mount it there); the whole data folder may be a link."
        )
