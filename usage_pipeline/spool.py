"""What was read and is not yet written: kept in memory while it is little, in a nameless file beyond that.

Put keeping bytes and columns aside here, whatever they say; what becomes of them is their readers'.
"""

import tempfile
import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import pyarrow as pa

from usage_pipeline.errors import LakeUnwritable

Kept = Callable[[], bytes]
KeptColumns = Callable[[], pa.RecordBatch]

MEMORY_BYTES = 48 * 1024 * 1024  # a day of 144,000 rows stays in memory, compressed bodies and columns
_ZSTD = pa.ipc.IpcWriteOptions(compression="zstd")


def held(data: bytes) -> Kept:
    """Bytes kept in memory."""
    return lambda: data


def held_columns(columns: pa.RecordBatch) -> KeptColumns:
    """Columns kept in memory."""
    return lambda: columns


class Spool:
    """A place for what does not fit into memory together; safe to use from several threads.

    The file has no name: nobody else sees it, and it is gone with the process, however that ends.

    Args:
        folder: Where the file lies; None for the system's folder of temporary files.
        memory_bytes: How much is kept in memory in all, before the file is made.
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder = folder
        self._left = memory_bytes
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    def keep(self, data: bytes) -> Kept:
        """Keep bytes; they come back by a call.

        Raises:
            LakeUnwritable: the disk has no room for them.
        """
        return held(data) if self._fits(len(data)) else self._write(data)

    def keep_columns(self, columns: pa.RecordBatch) -> KeptColumns:
        """Keep columns; they come back by a call, the same values.

        Raises:
            LakeUnwritable: the disk has no room for them.
        """
        if self._fits(columns.nbytes):
            return held_columns(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, columns.schema, options=_ZSTD) as out:
            out.write_batch(columns)
        kept = self._write(sink.getvalue())
        return lambda: _batch_in(kept())

    def _fits(self, size: int) -> bool:
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def _write(self, data: bytes | pa.Buffer) -> Kept:
        size = len(data)
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the spool
                    weakref.finalize(self, self._file.close)
                file, place = self._file, self._file.seek(0, 2)
                file.write(data)
                file.flush()
        except OSError as wrong:
            raise LakeUnwritable(
                f"what was read could not be put aside ({wrong}): make room, then run again; nothing was changed."
            ) from None

        return partial(self._read, file, place, size)

    def _read(self, file: IO[bytes], place: int, size: int) -> bytes:
        with self._lock:
            file.seek(place)
            return file.read(size)


def _batch_in(data: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_next_batch()
