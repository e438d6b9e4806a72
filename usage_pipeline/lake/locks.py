"""One writer at a time where two would undo each other: a lock that dies with its holder.

Put locks of this machine here. Windows need none (commits of the same days conflict and are retried); building
marts and publishing do, for they join many tables into one view.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usage_pipeline.errors import WarehouseBusy
from usage_pipeline.lake.links import refuse_linked_path

WAREHOUSE_LOCK = ".warehouse.lock"  # held while marts are built and published
REBUILD_LOCK = ".rebuild.lock"  # held by a replay from its first step to its last
REPLAY_LOCK = ".replay.lock"  # shared by syncs while they commit, exclusive while a replay adopts its result
SEALS_LOCK = ".seals.lock"  # held while the file of seals is read, changed and written whole
CREATE_LOCK = ".create.lock"  # held while a table is created
DIMS_LOCK = ".dims.lock"  # held while a names table is merged: it is read, changed and written whole

_POLL_SECONDS = 0.05
_DEADLINE_SECONDS = 600.0


@contextmanager
def exclusive(path: Path, *, deadline_seconds: float = _DEADLINE_SECONDS) -> Iterator[None]:
    """Hold the lock alone; the kernel frees it when the process ends, however it ends.

    Raises:
        WarehouseBusy: another process held it until the deadline; the message names the last one that held it alone.
        LakeUnwritable: it is a symbolic link: what that leads to would be written.
    """
    with _held(path, fcntl.LOCK_EX, deadline_seconds) as handle:
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield


@contextmanager
def shared(path: Path, *, deadline_seconds: float = _DEADLINE_SECONDS) -> Iterator[None]:
    """Hold the lock together with other shared holders.

    Raises:
        WarehouseBusy: a process held it alone until the deadline.
    """
    with _held(path, fcntl.LOCK_SH, deadline_seconds):
        yield


@contextmanager
def _held(path: Path, mode: int, deadline_seconds: float) -> Iterator[int]:
    refuse_linked_path(path.parent, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        give_up_at = time.monotonic() + deadline_seconds
        while not _try_lock(handle, mode):
            if time.monotonic() >= give_up_at:
                holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
                raise WarehouseBusy(
                    f"{path} is held, last by process {holder}, for over {deadline_seconds:g} s: wait for it or end it."
                )
            time.sleep(_POLL_SECONDS)
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int, mode: int) -> bool:
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
