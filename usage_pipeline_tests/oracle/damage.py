"""What can be lost or spoilt under a data folder, one thing at a time, and the documented command that heals it.

Put kinds of damage here; that they heal is healing.py's to check.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from usage_pipeline_tests.oracle.points import SMALL_MARTS


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


def spoil_one(folder: Path, rng: random.Random, *, is_raw_whole: bool) -> tuple[str, str] | None:
    """Delete, empty, cut or flip a bit in any one file that is in use and sealed: its path, and what was done.

    Once raw has lost something, only what needs no raw to be mended.
    """
    kinds: dict[str, list[str]] = {}
    for name in _sealed(folder):
        is_log = "/_delta_log/" in name
        kind = "/".join((*Path(name).parts[:3], "log")) if is_log else "/".join(Path(name).parts[:3])
        if is_raw_whole or is_log or name.startswith(("lake/marts", "lake/meta/mart_log", "warehouse")):
            kinds.setdefault(kind, []).append(name)
    if not kinds:
        return None
    name = rng.choice(kinds[rng.choice(sorted(kinds))])
    path, how = folder / name, rng.choice(("deleted", "emptied", "cut", "flipped"))
    content = path.read_bytes()
    place = rng.randrange(len(content))
    if how == "deleted":
        path.unlink()
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(content[:place])
    else:
        changed = content[place] ^ (1 << rng.randrange(8))
        path.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
    return name, f"{name} {how}"


def _sealed(folder: Path) -> list[str]:
    """Every file of the record of files that is there and has content, and the record."""
    record = folder / "lake" / "seals.txt"
    if not record.exists():
        return []
    lines = record.read_text(encoding="utf-8").splitlines()[1:]
    names = {line.split(" ", 2)[2].partition("@")[0] for line in lines if not line.startswith("lost ")}
    # What `whole` alone builds is not there for the other steps.
    names = {
        name for name in names if not name.startswith(("lake/dims", "lake/marts")) or Path(name).parts[2] in SMALL_MARTS
    }
    found = sorted(name for name in names if (folder / name).is_file() and (folder / name).stat().st_size)
    return [*found, "lake/seals.txt"] if found else []
