"""Which format a data folder was written in, so that an older usage_pipeline does not write into what it cannot read.

The record of the lake is the first line of its file of seals, that of a raw file is in its own first line. Put
refusing a newer one here, and raise FORMAT with a change that older versions would misread. A new column or table is
none: absent columns are read as null, and the next write adds them.
"""

import hashlib
import re
from pathlib import Path

from usage_pipeline.errors import NewerFormat

FORMAT = 1
RECORD = "seals.txt"
_HEAD = re.compile(rb"usage_pipeline seals ([0-9]{1,6}) ([0-9a-f]{64})\n")
_HEAD_BYTES = 128


def refuse_newer(lake_root: Path) -> None:
    """Look at the first line of the lake's seals; a lake that was never published has none, and is taken as ours.

    From format 2 on the line's hash is of its number and what follows, so that a damaged 1 is not taken for a 2.

    Raises:
        NewerFormat: the lake is of a newer format; nothing was written.
    """
    try:
        with (lake_root / RECORD).open("rb") as file:
            head = _HEAD.fullmatch(file.readline(_HEAD_BYTES))
            if head is None or int(head[1]) <= FORMAT:
                return
            digest = hashlib.sha256(head[1] + b"\n" + file.read())
    except (FileNotFoundError, NotADirectoryError):
        return
    if digest.hexdigest() == head[2].decode():
        raise newer(lake_root, int(head[1]))


def newer(path: Path, written: int) -> NewerFormat:
    """The error that says so of a lake or a raw file."""
    return NewerFormat(
        f"{path} is in format {written}, written by a newer usage_pipeline; this one knows up to format {FORMAT}: "
        "upgrade it, or set USAGE_PIPELINE_DATA_DIR to another folder. Nothing was written."
    )
