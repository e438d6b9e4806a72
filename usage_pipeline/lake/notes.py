"""What travels with a commit: a note of what it did, and claims that make it conflict with another commit.

Put how they are written into a Delta commit, and read from it, here; what a note says is ledger.py's.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction

from usage_pipeline.errors import LakeDamaged

COMMIT_KEY = "usage_pipeline"
FRESH_START = "fresh start"
ALONE = "alone"  # the claim of those whose commit is right only where nobody else with it has committed in between
NOTED_COMMITS = 50  # commits looked through for one whose ledger row a crash left unwritten


def noted(note: Any, at: DeltaTable | None = None, claims: Collection[str] = ()) -> CommitProperties:
    """A JSON-able note for a commit, and claims: of two commits made from version `at` with the same claim one fails.

    A claim is an application transaction of the Delta protocol: delta-rs lets no two commits at once name the same one.
    """
    transactions = [Transaction(claim, at.version()) for claim in sorted(claims)] if at else None
    return CommitProperties(custom_metadata={COMMIT_KEY: json.dumps(note)}, app_transactions=transactions)


def commit_notes(table: DeltaTable, most: int | None = NOTED_COMMITS) -> Iterator[Any]:
    """Notes of a usage table's newest commits that wrote or claimed days, since the last `overwrite`, newest first.

    Raises:
        LakeDamaged: a note is not what was written.
    """
    for commit in table.history(most):
        if COMMIT_KEY in commit:
            note = _note(table, commit[COMMIT_KEY])
            if not isinstance(note, dict):  # FRESH_START
                return
            yield note


def _note(table: DeltaTable, text: str) -> Any:
    try:
        note = json.loads(text)
        if note != FRESH_START and not {"commit_id", "days"} <= note.keys():
            raise ValueError("a note without commit or days")
    except (ValueError, AttributeError):
        raise LakeDamaged(
            f"what a commit of {table.table_uri} noted is not what was written: run `usage-pipeline doctor`, which "
            "makes the table anew."
        ) from None
    return note
