"""Making what was written last through a loss of power.

Put operations on files as such here; what is written, and where, is its writer's.
"""

import os
from pathlib import Path


def sync_to_disk(path: Path) -> None:
    """Fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
