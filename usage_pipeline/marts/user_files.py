"""CSV files people write into the data folder: read once, checked line by line against a model.

Put reading and complaining here, and kinds of cells several files have; what the columns mean is the model of whoever
reads.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from usage_pipeline.errors import FixConfig

Row = TypeVar("Row", bound=BaseModel)


def _currency(value: str) -> str:
    lowered = value.strip().lower()
    if not re.fullmatch("[a-z]{3}", lowered):
        raise ValueError("use the three letters of a currency, such as usd")
    return lowered


Currency = Annotated[str, AfterValidator(_currency)]  # in lower case, as the service writes it


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
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Excel writes a mark in front
        return [(line, _checked(path, line, cells, model, example)) for line, cells in _lines(path, text, model)]
    except FileNotFoundError:
        return []
    except OSError as refused:
        raise FixConfig(f"{path} cannot be read ({refused.strerror}): mend its rights, or remove it.") from None
    except (UnicodeDecodeError, csv.Error) as broken:
        raise FixConfig(f"{path} is not CSV text in UTF-8 ({broken}): save it as CSV, UTF-8.") from None


def wrong_line(path: Path, line: int, column: str | None, problem: str, example: str) -> FixConfig:
    """The error for a line that is wrong: where (no column: in how its cells go together), what, and a right one."""
    place = f"{path}, line {line}" if column is None else f"{path}, line {line}, column {column}"
    return FixConfig(f"{place}: {problem}. A right line is, for example, {example}")


def _lines(path: Path, text: str, model: type[BaseModel]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip().lower() for name in next(reader, [])]
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
            raise FixConfig(f"{path}, line 1: column {name!r:.40} {problem}; the columns are {','.join(known)}.")
    for name, field in model.model_fields.items():
        if field.is_required() and name not in header:
            raise FixConfig(f"{path}, line 1: column {name!r} is missing; the columns are {','.join(known)}.")


def _checked(path: Path, line: int, cells: dict[str, str], model: type[Row], example: str) -> Row:
    try:
        return model.model_validate(cells)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        column = str(first["loc"][0]) if first["loc"] else None
        problem = "is empty" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        if column is not None and cells.get(column):
            problem = f"{cells[column][:40]!r}: {problem}"
        raise wrong_line(path, line, column, problem, example) from None
