"""Which columns a mart's columns are made of, as read from its SQL by `python -m usage_pipeline_tests.lineage`.

Put reading of that file here; nobody writes it by hand.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("lineage.json")


@cache
def _all() -> Mapping[str, Mapping[str, Mapping[str, list[str]]]]:
    told: Mapping[str, Mapping[str, Mapping[str, list[str]]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return told


def column_sources(mart: str) -> Mapping[str, list[str]]:
    """Per column the `schema.table.column` it is computed from, through derived views; empty for an unknown mart.

    Only what goes into values: columns that rows are merely joined, filtered or grouped by are not among them.
    """
    return _all()[mart]["columns"] if mart in _all() else {}
