"""Making what was written last through a loss of power, and files that are whole or not there.

Put operations on files as such here; what is written, and where, is its writer's.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usage_pipeline.errors import LakeUnwritable


def sync_to_disk(path: Path) -> None:
    """Fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside the wanted one that takes its place at once when all went well.

    Raises:
        LakeUnwritable: it cannot be written; a file that was there is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync_to_disk(temporary)
        temporary.replace(path)
    except OSError as refused:
        raise LakeUnwritable(
            f"{path} cannot be written ({refused.strerror}): choose another --output or mend the folder."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
