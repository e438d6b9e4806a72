"""A working copy and the URL it copies, compared and mended: each has what the other needs.

Put here what becomes of files that differ between the two; what a file of the copy should be is told by its seal, as
in every data folder. What is at the URL is never written over: nobody but its writer knows that it is wrong.
"""

from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa

from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.lake.damage import Damage, altered_entries, damaged_entries, part_of, torn_entries
from usage_pipeline.lake.mirror import Mirror
from usage_pipeline.lake.seals import LAST_CHECKPOINT, LOG, LOST, Seals, is_sealed, table_folders
from usage_pipeline.lake.store import Lake

GONE_THERE = "missing at the URL"


def damaged_logs(lake: Lake, seals: Seals, parts: Collection[str] | None = None) -> dict[str, Damage]:
    """As `damaged_entries`; of a working copy what is damaged here alone is fetched again first."""
    found = damaged_entries(lake.root, seals, parts)
    if found and lake.mirror is not None:
        for one in (*altered_entries(lake.root, seals, parts), *torn_entries(lake.root, seals, parts)):
            _fetch_again(lake.mirror, one.path or "")
        found = damaged_entries(lake.root, seals, parts)
    return found


def bring(mirror: Mirror) -> None:
    """Fetch what is at the URL and not here: logs and raw files; data files come when they are read.

    Raises:
        LakeDamaged: what the lake names is not at the URL.
        RetryLater, FixConfig: the URL is out of reach or refuses.
    """
    there = mirror.sizes(("lake",))
    for place in sorted({name.partition(f"/{LOG}/")[0] for name in there if f"/{LOG}/" in name}):
        mirror.take_log(mirror.data_dir / place)
    mirror.take_raw()


def differing(lake: Lake, mirror: Mirror, seals: Seals) -> list[Damage]:
    """What is not at the URL as it is here, by its length: entries of logs, raw files, and the current data files."""
    there = mirror.sizes()
    raw = {name for name, held in seals.items() if name.startswith("raw/") and held != (LOST,)}
    found = []
    for name in sorted({*_named(lake), *raw}):
        path = mirror.data_dir / name
        if name not in there:
            found.append(Damage(part=part_of(name), path=name, problem=GONE_THERE))
        elif path.exists() and (size := path.stat().st_size) != there[name]:
            found.append(Damage(part=part_of(name), path=name, problem=f"{there[name]} bytes at the URL, {size} here"))
    return found


def _named(lake: Lake) -> Iterator[str]:
    """Every entry of the tables' logs, and the data files of their newest versions."""
    for folder in table_folders(lake.root):
        for entry in (folder / LOG).glob("[0-9]*.json"):
            yield str(entry.relative_to(lake.root.parent))
        at = lake.table(folder.parent.name, folder.name, pa.schema([])).open_or_none()
        files = [] if at is None else pa.table(at.get_add_actions(flatten=True))["path"].to_pylist()
        yield from (str((folder / file).relative_to(lake.root.parent)) for file in files)


def mend(mirror: Mirror, seals: Seals, findings: Iterable[Damage]) -> list[str]:
    """Fetch again what differs here, and put to the URL what is gone there and whole here; returns what was done.

    What is wrong at the URL too is left: the caller looks again.
    """
    done = []
    for one in findings:
        if one.path is None or not one.path.startswith(("lake/", "raw/")):
            continue
        path = mirror.data_dir / one.path
        if one.problem == GONE_THERE:
            if is_sealed(seals, mirror.data_dir, path) and mirror.objects.put_new(one.path, path):
                done.append(f"{one.path} was put to the URL again")
        elif not is_sealed(seals, mirror.data_dir, path) and _fetch_again(mirror, one.path):
            done.append(f"{one.path} was fetched again")
    return done


def _fetch_again(mirror: Mirror, name: str) -> bool:
    """Whether the file could be fetched again, whatever was here."""
    path = mirror.data_dir / name
    size = mirror.sizes((name.rpartition("/")[0],)).get(name)
    if size is None:
        if path.name == LAST_CHECKPOINT:
            path.unlink(missing_ok=True)
        return False
    try:
        mirror.fetch(path, size)
    except UsagePipelineError:
        return False
    return True
