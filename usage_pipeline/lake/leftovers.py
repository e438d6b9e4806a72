"""What killed writers left behind: temporary files, data files that no table ever named, half-built workshops.

Put finding and removing them here. What is temporary is in use for minutes, and a sync ends after six hours: what has
not changed for a day has no owner any more. A workshop is removed while nobody holds the lock of those who build there.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from usage_pipeline.errors import WarehouseBusy
from usage_pipeline.lake.damage import orphans
from usage_pipeline.lake.locks import REBUILD_LOCK, exclusive
from usage_pipeline.lake.seals import Seals

WORKSHOPS = ("lake.replay", "lake.doctor")
GROUPED = "marts.spark"  # Spark's, during a build, which holds the warehouse's lock, as who sweeps does
_FOLDERS = ("raw", "lake", "exports")
_AGE_SECONDS = 24 * 3600
# Ours, and DuckDB's log beside one of ours; a commit of delta-rs in the making; a file it has not finished.
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.wal)?|_commit_.+\.tmp|.+\.(parquet|json)#\d+")

_log = logging.getLogger(__name__)


def sweep(data_dir: Path, seals: Seals) -> list[Path]:
    """Remove what nobody owns any more and return it; `seals` are those of all that is published.

    A file that cannot be removed is a warning: what was published stays published.
    """
    swept = []
    grouped = [data_dir / GROUPED] if (data_dir / GROUPED).exists() else []
    for path in (*_old_files(data_dir, seals), *_workshops(data_dir), *grouped):
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            swept.append(path)
        except OSError as refused:
            _log.warning("%s was left by a killed run and cannot be removed (%s).", path, refused.strerror)
    return swept


def _old_files(data_dir: Path, seals: Seals) -> list[Path]:
    """Temporary files, and data files in no table, that have not changed for a day."""
    temporary, unsealed = [], set()
    for path in _files(data_dir):
        if _TEMPORARY.fullmatch(path.name):
            temporary.append(path)
        elif path.suffix == ".parquet" and str(path.relative_to(data_dir)) not in seals:
            unsealed.add(path)
    unsealed = {path for path in unsealed if _is_old(path)}
    # Reading every log is worth it only where there is such a file.
    unnamed = [data_dir / name for name in orphans(data_dir / "lake", seals)] if unsealed else []
    return [*filter(_is_old, temporary), *(path for path in unnamed if path in unsealed)]


def _files(data_dir: Path) -> Iterator[Path]:
    yield from (path for path in data_dir.iterdir() if path.is_file())
    for folder in _FOLDERS:
        for place, _, names in os.walk(data_dir / folder):
            yield from (Path(place, name) for name in names)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > _AGE_SECONDS
    except FileNotFoundError:  # its writer has just put it in place
        return False


def _workshops(data_dir: Path) -> Iterator[Path]:
    """Where a killed replay or doctor built."""
    left = [data_dir / name for name in WORKSHOPS if (data_dir / name).exists()]
    if left:
        try:
            with exclusive(data_dir / REBUILD_LOCK, deadline_seconds=0):
                yield from left
        except WarehouseBusy:
            return  # somebody builds there
