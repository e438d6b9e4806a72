"""Arrow schemas of the lake's tables, derived from the endpoint table, and those of the ledgers.

Put column names and types here; what fills them is in tables.py and ledger.py.
"""

from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import get_args

import pyarrow as pa

from usage_pipeline.endpoints import BucketWidth, ColumnKind, Endpoint

MONEY_SCALE = 20
MONEY = pa.decimal128(38, MONEY_SCALE)
TIME = pa.timestamp("us")  # UTC without a zone: TIMESTAMPTZ would need pytz in Python and group by the client's zone

_TYPES: dict[ColumnKind, pa.DataType] = {
    "text": pa.string(),
    "flag": pa.bool_(),
    "count": pa.int64(),
    "money": MONEY,
    "quantity": MONEY,
}

# The storage partition: a month where days are small, a day at 1m (thousands of tiny files are slow to read,
# a month of minutes is dear to rewrite for one late day). Readers never see it.
PART = "part"
PARTITION_BY = ["organization", PART]

_TIME_COLUMNS = [
    ("organization", pa.string(), "Label of the organization (a setting; `default`)."),
    ("date", pa.date32(), "UTC day the bucket starts on."),
    ("bucket_start", TIME, "Start of the bucket, UTC, inclusive."),
    ("bucket_end", TIME, "End of the bucket, UTC, exclusive; its nominal end while it is still open."),
    ("bucket_width", pa.string(), "Width of the bucket: 1m, 1h or 1d; one per day."),
]
_EXTRAS = ("extras", pa.string(), "Fields the endpoint table does not know, as JSON text.")
_AMOUNT_LITERAL = ("amount_literal", pa.string(), "The amount exactly as the service wrote it.")


def columns(endpoint: Endpoint) -> list[tuple[str, pa.DataType, str]]:
    """Name, type and description of every column readers see, in order."""
    found = list(_TIME_COLUMNS)
    found += [(d.name, _TYPES[d.kind], d.description) for d in endpoint.dimensions]
    labels = {label.name: label for label in endpoint.labels}
    for measure in endpoint.measures:
        found.append((measure.name, _TYPES[measure.kind], measure.description))
        if measure.kind == "money":
            found.append(_AMOUNT_LITERAL)
        label = labels.get("currency" if measure.kind == "money" else measure.unit)
        if label is not None:
            found.append((label.name, _TYPES[label.kind], label.description))
    return [*found, _EXTRAS]


def usage_schema(endpoint: Endpoint) -> pa.Schema:
    """The stored schema: what readers see, and the storage partition."""
    return pa.schema([(name, kind) for name, kind, _ in columns(endpoint)] + [(PART, pa.string())])


def part_format(width: BucketWidth) -> str:
    """Strftime format of the storage partition of a day with this bucket width."""
    return "%Y-%m-%d" if width == "1m" else "%Y-%m"


def storage_parts(days: Iterable[date]) -> set[str]:
    """Every storage partition the days can lie in, whatever their bucket width was or becomes."""
    return set().union(*map(_parts_of, days))


@cache
def _parts_of(day: date) -> frozenset[str]:
    return frozenset(day.strftime(part_format(width)) for width in get_args(BucketWidth))


_DAY = pa.struct([("date", pa.date32()), ("rows", pa.int64()), ("content_hash", pa.string())])

SYNC_LOG = pa.schema(
    [
        ("organization", pa.string()),
        ("endpoint", pa.string()),
        ("sync_id", pa.string()),
        ("commit_id", pa.string()),
        ("outcome", pa.string()),
        ("window_start", TIME),
        ("window_end", TIME),
        ("bucket_width", pa.string()),
        ("group_by", pa.list_(pa.string())),
        ("fetched_at", TIME),
        ("committed_at", TIME),
        ("buckets", pa.int64()),
        ("rows", pa.int64()),
        ("inserted", pa.int64()),
        ("updated", pa.int64()),
        ("deleted", pa.int64()),
        ("restated", pa.int64()),
        ("pages", pa.int64()),
        ("requests", pa.int64()),
        ("retries", pa.int64()),
        ("bytes", pa.int64()),
        ("content_hash", pa.string()),
        ("notes", pa.list_(pa.string())),
        ("drift", pa.list_(pa.string())),
        ("days", pa.list_(_DAY)),
    ]
)

RESTATEMENTS = pa.schema(
    [
        ("organization", pa.string()),
        ("endpoint", pa.string()),
        ("date", pa.date32()),
        ("bucket_start", TIME),
        ("bucket_width", pa.string()),
        ("change", pa.string()),
        ("was_provisional", pa.bool_()),
        ("key", pa.string()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("recorded_at", TIME),
        ("sync_id", pa.string()),
        ("commit_id", pa.string()),
    ]
)

MART_LOG = pa.schema(
    [
        ("organization", pa.string()),
        ("mart", pa.string()),
        ("built_at", TIME),
        ("rows", pa.int64()),
        ("days", pa.list_(pa.struct([("date", pa.date32()), ("fingerprint", pa.string())]))),
    ]
)
