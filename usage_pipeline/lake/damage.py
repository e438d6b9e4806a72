"""Which files are not what they were when they were sealed.

Put comparing files with their seals here; what their content should be is contents.py's, what to do is the doctor's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.landing import landed_files, load
from usage_pipeline.lake.seals import (
    LAST_CHECKPOINT,
    LOG,
    LOST,
    Seal,
    Seals,
    added_files,
    checkpoint_version,
    log_actions,
    seal_name,
    seal_of,
    table_folders,
)

PUBLISHED = "published"
RAW = "raw"


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Something that is not as it was recorded: of which part (raw, usage.costs, published, ...), where, and what."""

    part: str
    problem: str
    path: str | None = None

    @property
    def is_log(self) -> bool:
        """Whether it is in a table's log, so that what the log says cannot be trusted."""
        return self.path is not None and f"/{LOG}/" in self.path


def part_of(name: str) -> str:
    """The part a file belongs to, by its path in the data folder."""
    pieces = Path(name).parts
    if pieces[0] == "lake":
        return ".".join(pieces[1:3])
    return RAW if pieces[0] == "raw" else PUBLISHED


def altered_files(data_dir: Path, seals: Seals) -> list[Damage]:
    """Every sealed file that is missing or is not what was sealed."""
    found = []
    for name, held in _judged(seals):
        problem = _problem(data_dir, name, held, seals)
        if problem is not None:
            found.append(Damage(part=part_of(name), path=name.partition("@")[0], problem=problem))
    return found


def _judged(seals: Seals) -> Iterator[tuple[str, tuple[Seal, ...]]]:
    """Every seal that counts: of the pointers to a table's last checkpoint only the newest."""
    newest: dict[str, int] = {}
    for name in seals:
        path, _, version = name.partition("@")
        if version.isdigit():
            newest[path] = max(newest.get(path, 0), int(version))
    for name, held in seals.items():
        path, _, version = name.partition("@")
        if held != (LOST,) and (path not in newest or version == str(newest[path])):
            yield name, held


def _problem(data_dir: Path, name: str, held: tuple[Seal, ...], seals: Seals) -> str | None:
    path = data_dir / name.partition("@")[0]
    try:
        if path.name == LAST_CHECKPOINT:
            version = checkpoint_version(path)
            if (new := seal_name(data_dir, path)) not in seals:
                # Newer than its seal, as while a sync writes: then the checkpoint is there.
                is_new = version is not None and version > int(name.partition("@")[2])
                target = path.with_name(f"{version or 0:020d}.checkpoint.parquet")
                return None if is_new and target.exists() else ("altered" if path.exists() else "missing")
            held = seals[new]
        found = seal_of(path)
    except OSError:
        return "missing" if not path.exists() else "cannot be read"
    if found in held:
        return None
    return "altered" if found.size in {one.size for one in held} else _other_length(found.size, held)


def _other_length(size: int, held: tuple[Seal, ...]) -> str:
    return f"{size} bytes, {held[0].size} written"


def unsealed_raw(data_dir: Path, seals: Seals) -> tuple[list[Path], list[Damage]]:
    """Raw files without a seal: those whose bodies are what was received, and the others."""
    good, bad = [], []
    for path in landed_files(data_dir / "raw"):
        name = str(path.relative_to(data_dir))
        if name in seals:
            continue
        try:
            load(path)
            good.append(path)
        except LakeDamaged:
            bad.append(Damage(part=RAW, path=name, problem="altered"))
    return good, bad


def _is_log_of(name: str, parts: Collection[str] | None) -> bool:
    """Whether a file is in the log of one of the tables; of any with None."""
    return f"/{LOG}/" in name and (parts is None or part_of(name) in parts)


def torn_entries(lake_root: Path, seals: Seals, parts: Collection[str] | None = None) -> list[Damage]:
    """Entries of tables' logs (of these `parts`) that nobody has sealed yet and that say nothing.

    A loss of power tore them. An engine takes such an entry for a commit that changed nothing, so the table seems
    to be older than it is.
    """
    return [
        Damage(part=part_of(name), path=name, problem="torn")
        for folder in table_folders(lake_root)
        if parts is None or f"{folder.parent.name}.{folder.name}" in parts
        for entry in sorted((folder / LOG).glob("[0-9]*.json"))
        if (name := str(entry.relative_to(lake_root.parent))) not in seals and not _says_something(entry)
    ]


def _says_something(entry: Path) -> bool:
    try:
        is_now = entry.stat()
    except OSError:
        return False
    return _said_something(str(entry), is_now.st_size, is_now.st_mtime_ns)


@lru_cache(maxsize=2**16)
def _said_something(entry: str, _size: int, _mtime_ns: int) -> bool:
    """Asked once a process of an entry as it is: nobody writes one anew, and a long sync looks at all of its own."""
    return bool(log_actions(Path(entry)))


def altered_entries(lake_root: Path, seals: Seals, parts: Collection[str] | None = None) -> list[Damage]:
    """Sealed entries of tables' logs (of these `parts`) that are gone or have another length: by looking, not reading.

    An engine takes an empty entry for a commit that changed nothing, and the newest one that is there for the newest.
    """
    found = []
    for name, held in seals.items():
        if name.endswith(".json") and _is_log_of(name, parts):
            try:
                size = (lake_root.parent / name).stat().st_size
            except OSError:
                found.append(Damage(part=part_of(name), path=name, problem="missing"))
                continue
            if size not in {one.size for one in held}:
                found.append(Damage(part=part_of(name), path=name, problem=_other_length(size, held)))
    return found


def damaged_entries(lake_root: Path, seals: Seals, parts: Collection[str] | None = None) -> dict[str, Damage]:
    """By part (all, or these) the first entry of a table's log that makes the table seem older, or another one."""
    found = {
        one.part: one for one in (*altered_entries(lake_root, seals, parts), *torn_entries(lake_root, seals, parts))
    }
    if not (lake_root / "meta" / "sync_log" / LOG).exists():  # lost whole it is made anew: every commit carries its row
        found.pop("meta.sync_log", None)
    return found


def refuse_damaged(damaged: Mapping[str, Damage], parts: Iterable[str], consequence: str) -> None:
    """Go no further where the log of one of these tables is damaged.

    Raises:
        LakeDamaged: it is; the message ends with the consequence.
    """
    for part in parts:
        if part in damaged:
            raise LakeDamaged(
                f"{damaged[part].path} is not what was written ({damaged[part].problem}): run `usage-pipeline doctor`, "
                f"which rebuilds {part} from the raw archive. {consequence}"
            )


def orphans(lake_root: Path, seals: Seals) -> list[str]:
    """Data files in the tables' folders that no log ever named: a killed writer's, or one's that is still writing."""
    found = []
    for folder in table_folders(lake_root):
        files = [path for path in folder.rglob("*.parquet") if LOG not in path.parts]
        new = {path for path in files if str(path.relative_to(lake_root.parent)) not in seals}
        if new:
            for entry in (folder / LOG).glob("*.json"):
                new -= set(added_files(folder, entry))
        found += [str(path.relative_to(lake_root.parent)) for path in sorted(new)]
    return found
