"""The same rows in fewer files, logs that are quick to read, and which files nobody reads any more.

Put what becomes of a table's files with time here; when it is done is upkeep.py's, and warehouse.py's for the ledgers.
"""

from urllib.parse import unquote

from deltalake.exceptions import CommitFailedError

from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.seals import LAST_CHECKPOINT, LOG, checkpoint_version
from usage_pipeline.lake.writing import CHECKPOINT_EVERY, HOOKS, WRITER

_ABOVE = 40  # files of a table; each read of it opens all of them
_JOINED_BYTES = 8 << 20  # a day that is restated later has its whole file written anew
# Superseded files stay for those who opened the published file before. It is Delta's own default, which its checkpoints
# keep to as well: another number would need a table property.
KEPT_DAYS = 7


def compact(table: LakeTable) -> int:
    """Join the small files of each storage partition, where the table has many; returns how many fewer there are.

    Another writer's commit in between is no harm, the next run tries again.
    """
    at = table.open()
    if at is None or len(table.files(at)) <= _ABOVE:
        return 0
    try:
        with table.committing(at) as written:
            done = written.optimize.compact(
                target_size=_JOINED_BYTES,
                max_concurrent_tasks=1,
                writer_properties=WRITER,
                post_commithook_properties=HOOKS,
            )
    except CommitFailedError:
        return 0
    return int(done["numFilesRemoved"]) - int(done["numFilesAdded"])


def checkpoint(table: LakeTable) -> None:
    """Write a checkpoint where the last one is too old: tables of earlier versions write one in a hundred commits."""
    at = table.open()
    if (
        at is not None
        and at.version() - (checkpoint_version(table.path / LOG / LAST_CHECKPOINT) or 0) > CHECKPOINT_EVERY
    ):
        with table.committing(at) as written:
            written.create_checkpoint()


def superseded(table: LakeTable) -> list[str]:
    """Paths in the table's folder of data files that no version of the last `KEPT_DAYS` names, gone ones included.

    Of a working copy those at the URL, too.
    """
    at = table.open()
    if at is None:
        return []
    with table.committing(at) as there:
        places = (at,) if there is at else (at, there)
        # All files, not those alone that the log calls removed: checkpoints forget that after the same time.
        found = [
            place.vacuum(KEPT_DAYS * 24, dry_run=True, enforce_retention_duration=False, full=True) for place in places
        ]
    return sorted({unquote(name) for names in found for name in names})
