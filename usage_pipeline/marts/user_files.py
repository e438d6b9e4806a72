"""CSV files people write into the data folder: read once, checked line by line against a model.

Put reading and complaining here; what the columns mean is the model of whoever reads.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from usage_pipeline.errors import FixConfig

Row = TypeVar("Row", bound=BaseModel)


def read_user_csv(path: Path, model: type[Row], *, example: str) -> list[tuple[int, Row]]:
    """Line number and row of every line that is not empty; nothing where there is no file.

    The first line names the columns, in any order; columns with a default may be left out, and so may their cells.

    Args:
        path: the file.
        model: its columns and what they hold.
        example: a right line, for error messages.

    Raises:
        FixConfig: the file is wrong; the message names file, line, column and what to write.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
        return [(line, _checked(path, line, cells, model, example)) for line, cells in _lines(path, text, model)]
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise FixConfig(f"{path} is not CSV text in UTF-8 ({broken}): save it as CSV, UTF-8.") from None


def _lines(path: Path, text: str, model: type[BaseModel]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip() for name in next(reader, [])]
    _check_header(path, header, model)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise FixConfig(
                f"{path}, line {reader.line_num}: {len(cells)} cells where the first line names {len(header)} columns; "
                "put a cell that holds a comma in double quotes."
            )
        yield reader.line_num, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}


def _check_header(path: Path, header: list[str], model: type[BaseModel]) -> None:
    known = list(model.model_fields)
    for name in header:
        if name not in known or header.count(name) > 1:
            problem = "is named twice" if name in known else "is not known"
            raise FixConfig(f"{path}, line 1: column {name!r} {problem}; the columns are {','.join(known)}.")
    for name, field in model.model_fields.items():
        if field.is_required() and name not in header:
            raise FixConfig(f"{path}, line 1: column {name!r} is missing; the columns are {','.join(known)}.")


def _checked(path: Path, line: int, cells: dict[str, str], model: type[Row], example: str) -> Row:
    try:
        return model.model_validate(cells)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        column = str(first["loc"][0]) if first["loc"] else next(iter(cells))
        problem = "is empty" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise FixConfig(
            f"{path}, line {line}, column {column}: {problem}. A right line is, for example, {example}"
        ) from None
