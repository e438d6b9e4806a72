"""README.md beside this file: every named fault has its row, and every test a row names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SIZES = {"A": 24, "B": 13, "C": 22, "D": 15, "E": 32, "F": 26, "G": 8}
IDS = [f"{section}{number:02}" for section, size in SIZES.items() for number in range(1, size + 1)]
ROW = re.compile(r"\| ([A-Z]\d\d) \| (.+?) \| (.+?) \|")
NAMED = re.compile(r"`([a-z_]+/test_[a-z_0-9]+\.py)::(test_[a-z_0-9]+)`")


def _rows() -> list[tuple[str, str, str]]:
    lines = Path(__file__).with_name("README.md").read_text(encoding="utf-8").splitlines()
    return [found.groups() for line in lines if (found := ROW.fullmatch(line))]  # type: ignore[misc]


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_fault_has_one_row_in_its_place() -> None:
    """No id is missing, twice or out of order."""
    assert [row for row, _, _ in _rows()] == IDS


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_a_row_names_tests_that_exist_or_says_why_not(row: tuple[str, str, str]) -> None:
    """Shown by tests of these names; or `n/a` with a reason; or `open`."""
    _, fault, shown_by = row
    assert fault.strip()
    named = NAMED.findall(shown_by)
    for file, name in named:
        assert (TESTS / file).exists(), file
        assert name in _tests_in(file), f"{file} has no {name}"
    assert named or re.match(r"n/a: .|open\b", shown_by), shown_by
    assert shown_by.count("::") == len(named), "a name that cannot be read"


def test_tests_named_after_a_row_are_in_it() -> None:
    """A test of this folder called `test_a11_...` stands in row A11."""
    shown = {row: shown_by for row, _, shown_by in _rows()}
    for path in Path(__file__).parent.glob("test_*.py"):
        for name in _tests_in(f"faults/{path.name}"):
            prefix = re.match(r"test_((?:[a-g]\d\d_)+)", name)
            for row in prefix.group(1).strip("_").upper().split("_") if prefix else ():
                assert f"faults/{path.name}::" in shown[row], f"{name} is not in row {row}"
