"""What travels with a commit: a note of what it did, and claims that make it conflict with another commit.

Put how they are written into a Delta commit, and read from it, here; what a note says is ledger.py's.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction

COMMIT_KEY = "usage_pipeline"
FRESH_START = "fresh start"
NOTED_COMMITS = 50  # commits looked through for one whose ledger row a crash left unwritten


def noted(note: Any, at: DeltaTable | None = None, claims: Collection[str] = ()) -> CommitProperties:
    """A JSON-able note for a commit, and claims: of two commits made from version `at` with the same claim one fails.

    A claim is an application transaction of the Delta protocol: delta-rs lets no two commits at once name the same one.
    """
    transactions = [Transaction(claim, at.version()) for claim in sorted(claims)] if at else None
    return CommitProperties(custom_metadata={COMMIT_KEY: json.dumps(note)}, app_transactions=transactions)


def commit_notes(table: DeltaTable) -> Iterator[Any]:
    """Notes of the newest commits that wrote days or claimed them since the last `overwrite`, newest first."""
    for commit in table.history(NOTED_COMMITS):
        if COMMIT_KEY in commit:
            note = json.loads(commit[COMMIT_KEY])
            if not isinstance(note, dict):  # FRESH_START
                return
            yield note
