"""Budgets people write: `<data_dir>/budgets.csv` into `dims.budgets`.

Put reading and checking of the file here; what a budget means against the bill is marts/budget_status.sql's. The
service has spend limits too (QUIRKS: Names), at addresses that are not in the endpoint table: they are not read.
"""

import csv
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.dims import BUDGETS, read_dim, replace_dim
from usage_pipeline.lake.store import Lake

FILE = "budgets.csv"
COLUMNS = ("scope", "project_id", "month", "amount", "currency")
_EXAMPLE = "project,proj_abc,2026-11,250.00,usd"
_MONTH = re.compile(r"\d{4}-\d{2}")


class Budget(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)

    scope: Literal["organization", "project"]
    project_id: str | None
    month: date | None
    amount: Decimal = Field(ge=0, lt=10**15, decimal_places=12)
    currency: str = Field(pattern=r"^[a-z]{3}$")

    @field_validator("project_id", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("month", mode="before")
    @classmethod
    def _first_of_month(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        if not _MONTH.fullmatch(value.strip()):
            raise ValueError("write a month as YYYY-MM, or leave it empty for every month")
        return f"{value.strip()}-01"

    @field_validator("currency", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _project_where_it_belongs(self) -> Self:
        if (self.scope == "project") != (self.project_id is not None):
            raise ValueError("scope project needs a project_id, scope organization must have none")
        return self

    @property
    def grain(self) -> tuple[str | None, date | None, str]:
        """What no two lines may share."""
        return self.project_id, self.month, self.currency


def read_budgets(path: Path) -> list[Budget]:
    """The budgets of the file; none where there is no file.

    Raises:
        FixConfig: a line is wrong; the message names file, line, column and what to write.
    """
    if not path.exists():
        return []
    found: dict[tuple[str | None, date | None, str], int] = {}
    budgets = []
    for line, cells in _lines(path):
        budget = _budget(path, line, cells)
        if budget.grain in found:
            raise _wrong(path, line, "project_id", f"repeats line {found[budget.grain]}: remove one of them")
        found[budget.grain] = line
        budgets.append(budget)
    return budgets


def load_budgets(lake: Lake, data_dir: Path, organization: str) -> bool:
    """Make `dims.budgets` hold the file's budgets for this organization; False where it already did.

    Raises:
        FixConfig: the file is wrong; the table keeps what it had.
    """
    rows = [
        {"organization": organization, **budget.model_dump(exclude={"scope"})}
        for budget in read_budgets(data_dir / FILE)
    ]
    held = read_dim(lake, BUDGETS)
    if not rows and not held.num_rows:
        return False
    others = [row for row in held.to_pylist() if row["organization"] != organization]
    return replace_dim(lake, BUDGETS, pa.Table.from_pylist([*others, *rows], schema=BUDGETS.schema))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every line that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if sorted(header) != sorted(COLUMNS):
                raise FixConfig(f"{path}, line 1: the first line must be {','.join(COLUMNS)}")
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise FixConfig(
                        f"{path}, line {reader.line_num}: {len(cells)} cells where {len(header)} belong; "
                        f"for example {_EXAMPLE}"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except (UnicodeDecodeError, csv.Error) as broken:
        raise FixConfig(f"{path} is not CSV text in UTF-8 ({broken}): save it as CSV, UTF-8.") from None


def _budget(path: Path, line: int, cells: dict[str, str]) -> Budget:
    try:
        return Budget.model_validate(cells)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        column = str(first["loc"][0]) if first["loc"] else "project_id"
        raise _wrong(path, line, column, first["msg"].removeprefix("Value error, ")) from None


def _wrong(path: Path, line: int, column: str, problem: str) -> FixConfig:
    return FixConfig(f"{path}, line {line}, column {column}: {problem}. A right line is, for example, {_EXAMPLE}")
