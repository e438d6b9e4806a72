"""What a script is given and gives back: tables of the lake, statements; an Arrow file or an error for each.

Put what all scripts share here. It imports pyarrow alone: each runs in an environment of its engine.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeTable:
    """A Delta table: its folder, the files of its newest version, and its schema as Delta's log has it (JSON)."""

    name: str
    folder: str
    files: tuple[str, ...]
    schema: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Tables to attach, statements to ask by name, and the folder for the answers."""

    tables: tuple[LakeTable, ...]
    statements: dict[str, str]
    answers: Path


def given() -> Task:
    """The task in the file and for the folder that the arguments name."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tables = (LakeTable(**{**table, "files": tuple(table["files"])}) for table in task["tables"])
    return Task(tables=tuple(tables), statements=task["statements"], answers=Path(sys.argv[2]))


def answer(task: Task, version: str, ask: Callable[[str], pa.Table]) -> None:
    """Ask each statement and write what came: `<number>.arrow`, or `<number>.error` with the engine's words."""
    (task.answers / "version").write_text(version, encoding="utf-8")
    for number, statement in enumerate(task.statements.values()):
        try:
            table = ask(statement)
        except Exception as error:  # what an engine cannot do is a result
            (task.answers / f"{number}.error").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            continue
        with pa.OSFile(str(task.answers / f"{number}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
            out.write_table(table)
