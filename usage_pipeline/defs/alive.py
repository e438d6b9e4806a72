"""Which runs are still being worked on: each process of a run holds a lock that dies with it.

Put holding and looking at these locks here; what becomes of a run whose processes are gone is Dagster's run monitoring,
told by launcher.py. Process numbers would not do: they are given out again, after a restart of the machine at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from usage_pipeline.errors import WarehouseBusy
from usage_pipeline.lake.locks import exclusive, shared

_FOLDER = "working"  # beside the instance's other files


@contextmanager
def working(instance: dg.DagsterInstance | None, run_id: str | None) -> Iterator[None]:
    """Hold this process's lock of the run; nothing to hold where there is no run on an instance."""
    if instance is None or run_id is None:
        yield
        return
    path = _folder(instance) / f"{run_id}.{os.getpid()}.lock"
    with shared(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_worked_on(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a process still holds a lock of the run; those that killed processes left behind are removed."""
    return any(_is_held(path) for path in _folder(instance).glob(f"{run_id}.*.lock"))


def _folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / _FOLDER


def _is_held(path: Path) -> bool:
    try:
        with exclusive(path, deadline_seconds=0):
            path.unlink(missing_ok=True)
    except WarehouseBusy:
        return True
    return False
