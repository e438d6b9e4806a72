"""FOCUS's rules as checks of our own: what of the rows a version of the specification would not accept.

Put turning the columns' facts into checks here; the facts are in focus_columns.py. Nothing here changes a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from usage_pipeline.lake.engine import identifier, literal, workspace
from usage_pipeline.lake.schemas import storage_parts
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.focus_columns import FocusColumn, Form, Version, columns_of
from usage_pipeline.marts.tables import pin_mart
from usage_pipeline.marts.views import focus_type
from usage_pipeline.windows import Window

_UNIT = r"^([1-9]\d* )?[A-Z][A-Za-z]*(-[A-Z][A-Za-z]*)?(/([1-9]\d* )?[A-Z][A-Za-z]*)?$"
_FORMS: dict[Form, tuple[str, str]] = {
    "currency": ("is a currency code", "not regexp_full_match({name}, '[A-Z]{{3}}')"),
    "unit": ("is a unit", "not regexp_matches({name}, " + literal(_UNIT).replace("{", "{{").replace("}", "}}") + ")"),
    "not_negative": ("is not negative", "{name} < 0"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenRule:
    """A rule that does not hold: of which column, for how many rows. `is_known_gap`: the service does not say more."""

    column: str
    rule: str
    rows: int
    is_known_gap: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What must hold of a column, and the SQL condition of the rows that break it."""

    column: str
    name: str
    broken_when: str
    is_known_gap: bool = False


def broken_rules(
    lake: Lake, version: Version = "1.4", organization: str | None = None, window: Window | None = None
) -> list[BrokenRule]:
    """Every rule of a version the stored rows break, of one organization and window or of all.

    Args:
        lake: whose `marts.focus`.
        version: of the specification.
        organization: whose rows; None for all.
        window: which days; None for all.
    """
    parts = None
    conditions = ["true"]
    if organization is not None:
        conditions.append(f"organization = {literal(organization)}")
    if window is not None:
        conditions.append(f"date between {literal(str(window.dates()[0]))} and {literal(str(window.dates()[-1]))}")
    if organization is not None and window is not None:
        parts = {(organization, part) for part in storage_parts(window.dates())}
    scan = pin_mart(lake, "focus").scan(parts)
    with workspace() as con:
        rows = f"select * from ({scan}) where {' and '.join(conditions)}"  # noqa: S608 - own file list
        return _find(con, rows, version)


def broken_rules_of(rows: pa.Table, version: Version = "1.4") -> list[BrokenRule]:
    """The same for rows at hand: an export, or rows made elsewhere."""
    with workspace() as con:
        con.register("focus_rows", rows)
        return _find(con, "select * from focus_rows", version)


def _find(con: duckdb.DuckDBPyConnection, rows: str, version: Version) -> list[BrokenRule]:
    con.execute(f"create temp view focus_checked as {rows}")
    described = con.execute("select column_name, column_type from (describe focus_checked)").fetchall()
    types = dict(described)
    found = list(_shape_findings(types, version))
    absent = {finding.column for finding in found}
    rules = [rule for rule in rules_of(version) if not any(name in rule.broken_when for name in absent)]
    counts = ", ".join(f"count(*) filter (where {rule.broken_when})" for rule in rules)
    if not rules:
        return found
    broken = con.execute(f"select [{counts}] from focus_checked").fetchall()[0][0]  # noqa: S608 - own conditions
    return found + [
        BrokenRule(column=rule.column, rule=rule.name, rows=rows, is_known_gap=rule.is_known_gap)
        for rule, rows in zip(rules, broken, strict=True)
        if rows
    ]


def _shape_findings(types: dict[str, str], version: Version) -> Iterator[BrokenRule]:
    """Columns that are absent or of another type; column names are exact."""
    for column in columns_of(version):
        kind = types.get(column.name)
        if kind is None:
            yield BrokenRule(column=column.name, rule="is present", rows=0)
        elif kind.split("(")[0] != focus_type(column).upper().split("(")[0]:
            yield BrokenRule(column=column.name, rule=f"is of type {focus_type(column)}", rows=0)


def rules_of(version: Version) -> list[Rule]:
    """Every rule of a version that is judged row by row."""
    return [rule for column in columns_of(version) for rule in _rules(column)]


def _rules(column: FocusColumn) -> Iterator[Rule]:
    name = identifier(column.name)
    if not column.is_nullable and column.is_given:
        yield Rule(column=column.name, name="is not null", broken_when=f"{name} is null")
    if column.kind in ("text", "json"):
        yield Rule(column=column.name, name="is not blank", broken_when=f"trim({name}) = ''")
    if column.kind == "json":
        is_object = f"coalesce(try_cast({name} as json)->>'$' like '{{%', false)"
        yield Rule(column=column.name, name="is a JSON object", broken_when=f"{name} is not null and not {is_object}")
    if column.values:
        values = ", ".join(map(literal, column.values))
        yield Rule(column=column.name, name="is an allowed value", broken_when=f"{name} not in ({values})")
    if column.form is not None:
        rule, broken = _FORMS[column.form]
        yield Rule(column=column.name, name=rule, broken_when=broken.format(name=name))
    if column.null_when is not None:
        broken = f"({column.null_when}) and {name} is not null"
        yield Rule(column=column.name, name=f"is null where {column.null_when}", broken_when=broken)
    if column.required_when is not None:
        broken = f"({column.required_when}) and {name} is null"
        yield Rule(
            column=column.name,
            name=f"is given where {column.required_when}",
            broken_when=broken,
            is_known_gap=column.is_gap_known,
        )
    for rule, broken in column.refuted_by:
        yield Rule(column=column.name, name=rule, broken_when=broken)
