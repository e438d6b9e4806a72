"""Answers made comparable: rows as texts that show every digit, in one order, and a checksum over them.

Put comparing here; where answers come from is contenders.py's and lake.py's.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

_SHOWN = 3
Row = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Columns and rows of an answer, the rows in order."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def checksum(self) -> str:
        """SHA-256 of columns and rows."""
        return hashlib.sha256(repr((self.columns, self.rows)).encode()).hexdigest()


def answer_of(table: pa.Table, flags: Iterable[str] = ()) -> Answer:
    """A table as an answer; decimals at 20 places, times in UTC, the named flags as such where they are 0 and 1."""
    for name in flags:
        place = table.schema.get_field_index(name)
        if place >= 0 and pa.types.is_integer(table.schema.field(place).type):
            table = table.set_column(place, name, table.column(place).cast(pa.bool_()))
    columns = tuple(table.column_names)
    rows = [tuple(_text(row[column]) for column in columns) for row in table.to_pylist()]
    return Answer(columns=columns, rows=tuple(sorted(rows, key=repr)))


def flags_of(table: pa.Table) -> list[str]:
    """The columns that are true or false."""
    return [field.name for field in table.schema if pa.types.is_boolean(field.type)]


def other_types(wanted: pa.Table, got: pa.Table) -> set[str]:
    """Columns whose type means something else than the wanted one, as `name: got instead of wanted`."""
    pairs = [(one, got.schema.field(one.name)) for one in wanted.schema if one.name in got.schema.names]
    return {
        f"{mine.name}: {theirs.type} instead of {mine.type}"
        for mine, theirs in pairs
        if _meaning(mine.type) != _meaning(theirs.type)
    }


def _meaning(kind: pa.DataType) -> str:
    """A type without what changes no value: how text is laid out, and the sign and width of whole numbers."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return "whole number" if pa.types.is_integer(kind) and kind.bit_width == 64 else str(kind)


def difference(wanted: Answer, got: Answer) -> str | None:
    """What an answer has otherwise, in words; None where they are the same."""
    if wanted.columns != got.columns:
        return f"columns {got.columns} instead of {wanted.columns}"
    missing, extra = Counter(wanted.rows) - Counter(got.rows), Counter(got.rows) - Counter(wanted.rows)
    if not missing and not extra:
        return None
    shown = [f"{sign}{row}" for sign, rows in (("-", missing), ("+", extra)) for row in list(rows)[:_SHOWN]]
    return f"{missing.total()} of {len(wanted.rows)} rows differ: " + " ".join(shown)


def _text(value: Any) -> str | None:
    """A value as text; one of another type is never the same text, but for whole numbers of any width."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        return f"{value:.20f}" if value.as_tuple().exponent >= -20 else str(value)
    if isinstance(value, datetime):
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str) else repr(value)
