"""Buckets to Arrow: exact types, duplicate group keys summed, unknown fields kept.

Put the normalization of one window read here; comparing it with what is stored is replace.py's.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import BadPayload
from usage_pipeline.lake.bulk import bucket_columns, column_rows, in_order, new_values
from usage_pipeline.lake.hashes import content_hash
from usage_pipeline.lake.schemas import MONEY_SCALE, PART, usage_schema
from usage_pipeline.records import Bucket, ColumnResults, NumberLiteral, WindowRead
from usage_pipeline.windows import Window

# Wide enough for any literal the wire lets through: sums and roundings are exact in it.
_EXACT = Context(prec=1000, Emin=-999999, Emax=999999)
_SCALE_STEP = Decimal(1).scaleb(-MONEY_SCALE)
_MONEY_LIMIT = Decimal(10) ** (38 - MONEY_SCALE)
_INT64_LIMIT = 2**63

_BOUNDS = ("bucket_start", "bucket_end")

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class DayContent:
    """What a day holds: its number of rows and their content hash."""

    rows: int
    content_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A window read as rows: an Arrow table in canonical order, each day's hash, and what drifted from the contract."""

    endpoint: Endpoint
    organization: str
    read: WindowRead
    table: pa.Table
    days: Mapping[date, DayContent]
    drift: tuple[str, ...]

    @property
    def window(self) -> Window:
        """The window the buckets prove."""
        return self.read.window

    def rows_of(self, days: Iterable[date]) -> pa.Table:
        """The rows of some of the days, in canonical order."""
        chosen = set(days)
        if all(day in chosen for day, held in self.days.items() if held.rows):
            return self.table  # the usual case, and a copy would be as large
        wanted = pa.array(sorted(chosen), pa.date32())
        return self.table.filter(pc.is_in(self.table["date"], wanted))


@dataclass(slots=True)
class _Drift:
    """Collects what the endpoint table does not know, each thing once."""

    notes: dict[str, None] = field(default_factory=dict)

    def add(self, note: str) -> None:
        self.notes.setdefault(note)

    def add_value(self, endpoint: Endpoint, dimension: str, value: str) -> None:
        self.add(f"{endpoint.name}.{dimension}: new value {value!r}")


def normalize(endpoint: Endpoint, organization: str, read: WindowRead) -> Content:
    """The rows of a window read.

    Rows with equal grain in one bucket are summed (null + n = n); an absent measure is stored as null like a null one.

    Raises:
        BadPayload: an amount or a sum does not fit its column.
    """
    drift = _Drift()
    by = ["bucket_start", *endpoint.grain]
    columnar = [bucket for bucket in read.buckets if isinstance(bucket.results, ColumnResults)]
    others = [bucket for bucket in read.buckets if bucket.results and not isinstance(bucket.results, ColumnResults)]
    table, is_again = in_order(column_rows(endpoint, organization, read.bucket_width, columnar), by)
    new_values(endpoint, table, lambda name, value: drift.add_value(endpoint, name, value))
    if pc.any(is_again).as_py():  # sums are made of rows by themselves
        table, doubled = _apart(endpoint, table, is_again)
        others += doubled
    if others:
        rows = _row_table(endpoint, organization, read, others, drift)
        table, _ = in_order(pa.concat_tables([table, rows]), by)
    return Content(
        endpoint=endpoint,
        organization=organization,
        read=read,
        table=table,
        days=_day_contents(read.window, table),
        drift=tuple(drift.notes),
    )


def _apart(endpoint: Endpoint, table: pa.Table, is_again: pa.Array) -> tuple[pa.Table, list[Bucket]]:
    """The rows of buckets in which no group key comes twice, and the other buckets with their results."""
    doubled = pc.is_in(table["bucket_start"], pc.unique(table["bucket_start"][1:].filter(is_again)))
    fields = [*endpoint.dimension_names, *(m.name for m in endpoint.measures)]
    rows = table.filter(doubled)
    bounds = zip(*(rows[name].cast(pa.timestamp("s")).cast(pa.int64()).to_pylist() for name in _BOUNDS), strict=True)
    found: dict[tuple[int, int], list[Row]] = {}
    for bound, result in zip(bounds, rows.select(fields).to_pylist(), strict=True):
        found.setdefault(bound, []).append(result)
    return table.filter(pc.invert(doubled)), [
        Bucket(start_time=start, end_time=end, results=results) for (start, end), results in found.items()
    ]


def _row_table(
    endpoint: Endpoint, organization: str, read: WindowRead, buckets: list[Bucket], drift: _Drift
) -> pa.Table:
    """The rows of buckets made one by one: those of one group key summed, in no particular order."""
    rows: list[Row] = []
    for bucket in buckets:
        merged: dict[tuple[Any, ...], Row] = {}
        for result in bucket.results:
            row = _row(endpoint, result, drift)
            key = tuple(row[name] for name in endpoint.grain)
            merged[key] = _sum_rows(endpoint, merged[key], row) if key in merged else row
        for row in merged.values():
            row["bounds"] = (bucket.start_time, bucket.end_time)
        rows.extend(merged.values())
    return _to_arrow(endpoint, organization, read, rows, drift)


def _row(endpoint: Endpoint, result: Mapping[str, Any], drift: _Drift) -> Row:
    """One result as a row of this endpoint's columns; what it does not know goes to extras."""
    rest = dict(result)
    rest.pop("object", None)
    row: Row = {}
    for dimension in endpoint.dimensions:
        row[dimension.name] = value = rest.pop(dimension.name, None)
        if dimension.known_values and value is not None and value not in dimension.known_values:
            drift.add_value(endpoint, dimension.name, value)
    for measure in endpoint.measures:
        value = rest.pop(measure.name, None)
        if measure.kind == "money":
            amount = value or {}
            row[measure.name] = row["amount_literal"] = amount.get("value")
            row["currency"] = amount.get("currency")
        else:
            row[measure.name] = value
    for label in endpoint.labels:
        if label.name not in row:
            row[label.name] = rest.pop(label.name, None)
    for name in rest.keys() - endpoint.known_extras:
        drift.add(f"{endpoint.name}: unknown field {name!r}, kept in extras")
    row["extras"] = json_text(rest) if rest else None
    return row


def json_text(value: Any) -> str:
    """Compact JSON with sorted keys; a number a float cannot hold as written becomes a string of its literal."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_json_number)


def _json_number(number: Any) -> float | str:
    """The number where a float prints back the same literal, else the literal as text."""
    if not isinstance(number, NumberLiteral):
        raise TypeError(f"{type(number).__name__} is not JSON")
    as_float = float(number.text)
    return as_float if repr(as_float) == number.text else number.text


def _sum_rows(endpoint: Endpoint, one: Row, other: Row) -> Row:
    """Two rows of one group key as one: measures summed exactly, both rows' extras kept."""
    summed = dict(one)
    for measure in endpoint.measures:
        a, b = one[measure.name], other[measure.name]
        if a is None or b is None:
            summed[measure.name] = b if a is None else a
        elif measure.kind == "count":
            summed[measure.name] = a + b
        else:
            # Normalized first: "0E-6176" is a zero, not six thousand digits to write out.
            parts = (Decimal(a).normalize(_EXACT), Decimal(b).normalize(_EXACT))
            summed[measure.name] = format(_EXACT.add(*parts).normalize(_EXACT), "f")
        if measure.kind == "money":
            summed["amount_literal"] = summed[measure.name]
    extras = sorted({text for text in (one["extras"], other["extras"]) if text is not None})
    summed["extras"] = extras[0] if len(extras) == 1 else ("[" + ",".join(extras) + "]" if extras else None)
    return summed


def _to_arrow(endpoint: Endpoint, organization: str, read: WindowRead, rows: list[Row], drift: _Drift) -> pa.Table:
    """Rows as a table."""
    schema = usage_schema(endpoint)
    for measure in endpoint.measures:
        _fit(endpoint, measure.name, is_decimal=measure.kind != "count", rows=rows, drift=drift)
    derived = bucket_columns(organization, read.bucket_width, [row["bounds"] for row in rows])
    arrays = [
        derived[name] if name in derived else pa.array([row[name] for row in rows], type=kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _fit(endpoint: Endpoint, column: str, *, is_decimal: bool, rows: list[Row], drift: _Drift) -> None:
    """Bring a measure into its column's type in place; refuse what cannot be held, note what had to be rounded."""
    for row in rows:
        value = row[column]
        if value is None:
            continue
        if not is_decimal:
            if not -_INT64_LIMIT <= value < _INT64_LIMIT:
                raise BadPayload(f"{endpoint.name}.{column}: {value} does not fit 64 bits; nothing was written.")
            continue
        exact = Decimal(value)
        if abs(exact) >= _MONEY_LIMIT:
            raise BadPayload(f"{endpoint.name}.{column}: {value[:60]} is beyond any bill; nothing was written.")
        rounded = exact.quantize(_SCALE_STEP, rounding=ROUND_HALF_EVEN, context=_EXACT)
        if rounded != exact:
            drift.add(f"{endpoint.name}.{column}: more than {MONEY_SCALE} decimals, rounded half-even; literal kept")
        row[column] = rounded


def _day_contents(window: Window, table: pa.Table) -> dict[date, DayContent]:
    """Rows and hash of every day of the window; a day without rows is known to be empty, not missing."""
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(table["date"]).to_pylist()}
    found: dict[date, DayContent] = {}
    start = 0
    for day in window.dates():
        rows = table.slice(start, counts.get(day, 0)).drop_columns([PART])
        start += rows.num_rows
        found[day] = DayContent(rows=rows.num_rows, content_hash=content_hash(rows))
    return found
