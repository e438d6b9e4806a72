"""What can be lost or spoilt under a data folder, one thing at a time, and the documented command that heals it.

Put kinds of damage here; that they heal is machine.py's to check.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError


def losses(folder: Path, *, has_orphans: bool) -> list[tuple[str, Callable[[], object], str]]:
    """What can be lost or spoilt here, how, and the command that heals it."""
    losses: list[tuple[str, Callable[[], object], str]] = []
    warehouse = folder / "warehouse.duckdb"
    if warehouse.exists():
        losses += [("warehouse.duckdb lost", warehouse.unlink, "publish")]
        losses += [("warehouse.duckdb spoilt", lambda: warehouse.write_bytes(b"no database"), "publish")] * 2
    lake = folder / "lake"
    for log in sorted(lake.glob("*/*/_delta_log")):
        table = log.parent
        name = str(table.relative_to(lake))
        heal = "publish" if name.startswith("marts/") else "replay"
        if ".damaged-" in name or (name == "meta/sync_log" and has_orphans):
            continue
        data = _files(table)
        losses += [(f"{name}: a data file lost", Path(data[-1]).unlink, heal)] if data else []
        losses += [(f"{name}: the log spoilt", lambda log=log: _spoil(log), heal)]
        if name.startswith(("usage/", "marts/")):
            losses += [(f"{name}: all lost", lambda table=table: shutil.rmtree(table), heal)]
    return losses


def _files(table: Path) -> list[str]:
    """The files of the newest version, for a superseded one is no loss; none where the log is still spoilt."""
    try:
        return sorted(DeltaTable(table).file_uris())
    except DeltaError:
        return []


def _spoil(log: Path) -> None:
    for file in log.glob("*.json"):
        file.write_text("{ this is no log")
