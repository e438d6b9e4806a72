"""What storage engines say when something is wrong with files, or memory runs out, as our errors with the way out.

Put the translation here; the doors of the lake (replace, refresh, replay, status) use it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from deltalake.exceptions import DeltaError, SchemaMismatchError

from usage_pipeline.errors import LakeDamaged, LakeUnwritable, MemoryExhausted

# Reading what should be there and is not, or is not what it was; every other failure is one of writing.
_DAMAGE = re.compile(
    r"not found|no files found|no such file|cannot open file|corrupt|invalid|magic|parquet|json|deserializ|missing"
    r"|eof|expected|footer|thrift|protocol",
    re.IGNORECASE,
)
# A transaction cannot be refused for another reason: nothing else writes into the file that DuckDB makes.
_OF_FILES = (
    OSError,
    DeltaError,
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.TransactionException,
    duckdb.InvalidInputException,
    duckdb.NotSupportedError,
    duckdb.SerializationException,
    duckdb.InternalError,
)
_SAID_CHARS = 500  # the cause stands at the end of what DuckDB says, after a path
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # delta-rs paints its messages, also where nobody sees colours
_STACK = re.compile(r"\s+\d+: <unknown>.*")  # of delta-rs, without a name in it
_NO_ROOM = re.compile(r"no space|permission denied|read-only|quota|os error (13|28|30|122)", re.IGNORECASE)


@contextmanager
def memory_explained(what: str) -> Iterator[None]:
    """Let memory that runs out in the block leave as MemoryExhausted; `what` names the work.

    Raises:
        MemoryExhausted: an engine, or Python itself, got no more memory; what was there before is unchanged.
    """
    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as wrong:
        said = (str(wrong).splitlines() or ["out of memory"])[0][:_SAID_CHARS]
        raise MemoryExhausted(
            f"{what}: there is too little memory ({said}). Free some or give the process more, or read fewer days at "
            "once with --since and --until; what was there before is unchanged."
        ) from wrong


@contextmanager
def files_explained(what: str) -> Iterator[None]:
    """Let the block's file errors leave as LakeUnwritable or LakeDamaged; `what` names the work.

    Raises:
        LakeUnwritable: the disk or a folder refused; what was there before is unchanged.
        LakeDamaged: a file of the lake is missing or is not what was written.
        MemoryExhausted: memory ran out; what was there before is unchanged.
    """
    try:
        with memory_explained(what):
            yield
    except SchemaMismatchError:
        raise  # a bug of ours, not of the files
    except _OF_FILES as wrong:
        raise _explained(what, wrong) from wrong
    except duckdb.Error as wrong:
        if type(wrong) is not duckdb.Error:  # of no kind of DuckDB's own: a library below it, which reads files
            raise
        raise _explained(what, wrong) from wrong


def _explained(what: str, wrong: Exception) -> LakeDamaged | LakeUnwritable:
    whole = _STACK.sub("", " ".join(_COLOUR.sub("", str(wrong)).split()))
    said = whole[:_SAID_CHARS]
    is_read = _DAMAGE.search(whole) or type(wrong) is duckdb.Error
    if is_read and not _NO_ROOM.search(whole):
        return LakeDamaged(
            f"{what}: a file of the lake is missing or damaged ({said}). `usage-pipeline doctor` mends it from what is "
            "left and the raw archive; if only the data folder was moved, `usage-pipeline publish` is enough."
        )
    return LakeUnwritable(
        f"{what}: the data folder could not be written ({said}). Make room or mend its rights, then run again; "
        "what was there before is unchanged."
    )
