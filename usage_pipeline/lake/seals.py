"""Seals: size and SHA-256 of every file of the lake, the raw archive and the published file, as it was written.

Delta tables and Parquet carry no checksums that readers check, so the pipeline keeps its own, in one text file that
begins with its own hash. A refresh seals what has come since the last one. Put keeping and finding seals here;
comparing files with them is damage.py's.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.disk import sync_to_disk
from usage_pipeline.lake.formats import FORMAT, RECORD, refuse_newer
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.links import refuse_linked_path
from usage_pipeline.lake.locks import SEALS_LOCK, exclusive

SEALS_FILE = RECORD
GROUPS = ("usage", "dims", "meta", "marts")
LOG = "_delta_log"
LAST_CHECKPOINT = "_last_checkpoint"
_log = logging.getLogger(__name__)
_HEAD = f"usage_pipeline seals {FORMAT} "


@dataclass(frozen=True, slots=True)
class Seal:
    """What a file was when it was written."""

    sha256: str
    size: int


# A raw file that is gone for good, and known to be.
LOST = Seal("lost", 0)

# path in the data folder -> seals; two for the published file: the one being put in place, and the one before
Seals = dict[str, tuple[Seal, ...]]


def seal_of(path: Path) -> Seal:
    """The seal a file would get now."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Seal(digest, os.fstat(file.fileno()).st_size)


def read_seals(lake_root: Path) -> Seals | None:
    """Every seal; None where there are none yet.

    Raises:
        LakeDamaged: the file of seals is not what was written.
        NewerFormat: a newer version wrote it.
    """
    path = lake_root / SEALS_FILE
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if head.decode(errors="replace") != _HEAD + hashlib.sha256(body).hexdigest():
        refuse_newer(lake_root)
        raise LakeDamaged(f"{path} is not what was written: run `usage-pipeline doctor`, which makes it anew.")
    found: Seals = {}
    for line in body.decode().splitlines():
        sha256, size, name = line.split(" ", 2)
        found[name] = (*found.get(name, ()), Seal(sha256, int(size)))
    return found


def seals_if_readable(lake_root: Path) -> Seals:
    """The seals, as far as they can be read; without any, everything is compared and sealed anew."""
    try:
        return read_seals(lake_root) or {}
    except LakeDamaged as damage:
        _log.warning("%s Going on: everything is compared with the coverage log and sealed anew.", damage)
        return {}


def is_sealed(seals: Seals, data_dir: Path, path: Path) -> bool:
    """Whether a file is there, and is what was written."""
    held = seals.get(seal_name(data_dir, path), ())
    return path.exists() and seal_of(path) in held


def change_seals(lake_root: Path, change: Callable[[Seals], Seals]) -> None:
    """Replace the seals by what `change` makes of them, at once and durably; a file that is damaged counts as none."""
    with exclusive(lake_root.parent / SEALS_LOCK):
        try:
            before = read_seals(lake_root) or {}
        except LakeDamaged:
            before = {}
        after = change(dict(before))
        if after != before or not (lake_root / SEALS_FILE).exists():
            _write(lake_root / SEALS_FILE, after)


def _write(path: Path, seals: Seals) -> None:
    lines = (f"{one.sha256} {one.size} {name}\n" for name, held in sorted(seals.items()) for one in held)
    body = "".join(lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for one in (path, temporary):
        refuse_linked_path(path.parent.parent, one)
    try:
        temporary.write_bytes(_HEAD.encode() + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        sync_to_disk(temporary)
        temporary.replace(path)
        sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def forget_seals(lake_root: Path, folder: Path) -> None:
    """Drop the seals of everything in a folder: it is going to be made anew."""
    if (lake_root / SEALS_FILE).exists():
        prefix = f"{folder.relative_to(lake_root.parent)}/"
        change_seals(
            lake_root, lambda seals: {name: held for name, held in seals.items() if not name.startswith(prefix)}
        )


def seal_new(lake_root: Path, accepted: Callable[[], set[str]], published: Path | None = None) -> None:
    """Seal every file that a table's log names, the logs, and raw files that reached the lake; what is sealed stays so.

    Args:
        lake_root: the lake's folder, in the data folder.
        accepted: names of the raw files of every window the coverage log has, asked only where one is new; a file of
            any other read may still be taken back.
        published: the file about to be put in place as warehouse.duckdb.
    """
    data_dir = lake_root.parent

    def change(seals: Seals) -> Seals:
        for path in (*_table_files(lake_root, seals), *_raw_files(data_dir, seals, accepted)):
            seals.setdefault(seal_name(data_dir, path), (seal_of(path),))
        if published is not None:
            seals["warehouse.duckdb"] = tuple(
                dict.fromkeys((seal_of(published), *seals.get("warehouse.duckdb", ())[:1]))
            )
        return seals

    change_seals(lake_root, change)


def seal_name(data_dir: Path, path: Path) -> str:
    """A file's name among the seals: its path; that of the pointer to the last checkpoint with what it points to."""
    name = str(path.relative_to(data_dir))
    return f"{name}@{checkpoint_version(path)}" if path.name == LAST_CHECKPOINT else name


def checkpoint_version(path: Path) -> int | None:
    """The version a `_last_checkpoint` names; None where it names none."""
    try:
        version = json.loads(path.read_bytes())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None


def table_folders(lake_root: Path) -> Iterator[Path]:
    """The folder of every table there is; those put aside as damaged are none."""
    for group in GROUPS:
        yield from sorted(path.parent for path in lake_root.glob(f"{group}/*/{LOG}") if "." not in path.parent.name)


def _table_files(lake_root: Path, seals: Seals) -> Iterator[Path]:
    """Files of the tables that have no seal: log entries (none in the making), the data files they add, checkpoints."""
    for folder in table_folders(lake_root):
        for path in sorted((folder / LOG).iterdir()):
            is_unfinished = path.name.startswith(("_commit", ".")) or "#" in path.name
            if is_unfinished or seal_name(lake_root.parent, path) in seals:
                continue
            yield path
            if path.suffix == ".json":
                yield from (file for file in added_files(folder, path) if file.exists())


def log_actions(entry: Path) -> list[dict[str, Any]]:
    """What an entry of a table's log says; nothing where it cannot be read."""
    try:
        actions = [json.loads(line) for line in entry.read_bytes().splitlines() if line]
    except (OSError, ValueError):
        return []
    return [action for action in actions if isinstance(action, dict)]


def added_files(folder: Path, entry: Path) -> list[Path]:
    """The data files an entry of a table's log adds."""
    return [folder / unquote(action["add"]["path"]) for action in log_actions(entry) if "add" in action]


def _raw_files(data_dir: Path, seals: Seals, accepted: Callable[[], set[str]]) -> list[Path]:
    """Raw files without a seal whose read the lake has accepted."""
    found = {str(path.relative_to(data_dir)): path for path in landed_files(data_dir / "raw")}
    new = {name: path for name, path in found.items() if name not in seals}
    known = accepted() if new else set()
    return [path for name, path in new.items() if is_names(path) or name in known]


def is_names(path: Path) -> bool:
    """Whether a raw file is of a list of names."""
    return path.parts[-3].startswith("dims.")


def is_seals(path: Path) -> bool:
    """Whether a file, whatever its name, begins as the file of seals does."""
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD.encode()
