"""Budgets: `<data_dir>/budgets.csv`, which people write, and the service's spend limits, into `dims.budgets`.

Put reading and checking of the file here, and which of the two counts; how the limits are read is name_lists.py's, what
a budget means against the bill marts/budget_status.sql's.
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from usage_pipeline.lake.dims import BUDGETS, LIMITS, hold_dim, read_dim, replace_dim
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.user_files import Currency, read_user_csv, wrong_line
from usage_pipeline.name_lists import ORGANIZATION_ID
from usage_pipeline.setting_checks import listed

BUDGETS_FILE = "budgets.csv"
_SPEND_LIMIT = "spend_limit"  # the source of a budget the service keeps
_EXAMPLE = "scope,project_id,month,amount,currency / project,proj_abc,2026-11,250.00,usd"
_EXAMPLE_OF_MANY = "scope,project_id,month,amount,currency,organization / project,proj_abc,2026-11,250.00,usd,acme"
_MONTH = re.compile(r"\d{4}-\d{2}")


class Budget(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)

    scope: Literal["organization", "project"]
    project_id: str | None = None
    month: date | None = None
    amount: Decimal = Field(ge=0, lt=10**15, decimal_places=12)
    currency: Currency
    organization: str | None = None

    @field_validator("month", mode="before")
    @classmethod
    def _first_of_month(cls, value: Any) -> Any:
        if not isinstance(value, str) or not _MONTH.fullmatch(value.strip()):
            raise ValueError("write a month as YYYY-MM, or leave it empty for every month")
        return f"{value.strip()}-01"

    @model_validator(mode="after")
    def _project_where_it_belongs(self) -> Self:
        if (self.scope == "project") != (self.project_id is not None):
            raise ValueError("scope project needs a project_id, scope organization must have none")
        return self

    @property
    def grain(self) -> tuple[str | None, str | None, date | None, str]:
        """What no two lines may share."""
        return self.organization, self.project_id, self.month, self.currency


def read_budgets(path: Path, organizations: Sequence[str] = ("default",)) -> list[Budget]:
    """The budgets of the file, each with its organization; none where there is no file.

    A line need not name its organization where there is only one.

    Raises:
        FixConfig: a line is wrong; the message names file, line, column and what to write.
    """
    found: dict[object, int] = {}
    budgets = []
    for line, written in read_user_csv(path, Budget, example=_EXAMPLE):
        budget = _assigned(path, line, written, organizations)
        if budget.grain in found:
            problem = f"repeats line {found[budget.grain]}: remove one of them"
            raise wrong_line(path, line, "project_id", problem, _EXAMPLE)
        found[budget.grain] = line
        budgets.append(budget)
    return budgets


def _assigned(path: Path, line: int, budget: Budget, organizations: Sequence[str]) -> Budget:
    """The budget with the label of one of the organizations: what it names, or the only one there is."""
    if budget.organization in organizations:
        return budget
    if budget.organization is None and len(organizations) == 1:
        return budget.model_copy(update={"organization": organizations[0]})
    problem = "is empty" if budget.organization is None else f"{budget.organization[:40]!r} is not configured"
    raise wrong_line(path, line, "organization", f"{problem}: write one of {listed(organizations)}", _EXAMPLE_OF_MANY)


def load_budgets(lake: Lake, data_dir: Path, organizations: Sequence[str]) -> bool:
    """Make `dims.budgets` hold the file's budgets and the spend limits of these organizations; False where it did.

    A line of the file counts instead of the limit for the same project, month (every) and currency.

    Raises:
        FixConfig: the file is wrong; the table keeps what it had.
    """
    written = read_budgets(data_dir / BUDGETS_FILE, organizations)
    rows = [{"source": BUDGETS_FILE, **budget.model_dump(exclude={"scope"})} for budget in written]
    grains = {budget.grain for budget in written}
    rows += [
        {"source": _SPEND_LIMIT, **limit}
        for limit in _spend_limits(lake, organizations)
        if (limit["organization"], limit["project_id"], limit["month"], limit["currency"]) not in grains
    ]
    held = hold_dim(lake, BUDGETS)
    if not rows and not held.rows.num_rows:
        return False
    others = [row for row in held.rows.to_pylist() if row["organization"] not in organizations]
    return replace_dim(lake, BUDGETS, pa.Table.from_pylist([*others, *rows], schema=BUDGETS.schema), held)


def _spend_limits(lake: Lake, organizations: Sequence[str]) -> list[dict[str, Any]]:
    """The limits the service has now, as budgets of every month."""
    return [
        {
            "organization": row["organization"],
            "project_id": None if row["id"] == ORGANIZATION_ID else row["id"],
            "month": None,
            "currency": row["currency"].lower(),
            "amount": row["amount"],
        }
        for dim in LIMITS
        for row in read_dim(lake, dim).to_pylist()
        if row["organization"] in organizations and row["interval"] == "month"
        if row["valid_to"] is None and row["deleted_at"] is None
    ]
