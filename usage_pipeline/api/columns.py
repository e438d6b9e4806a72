"""The bulk decoder: a page straight to Arrow columns, or None where anything about it is unusual.

Put the checks here that keep Arrow's JSON reader from taking what models.py would refuse or read differently; that is
the second opinion on every page this leaves alone, and names what is wrong. Money never comes this way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from usage_pipeline.endpoints import Dimension, Endpoint, Measure
from usage_pipeline.records import Bucket, ColumnResults
from usage_pipeline.spool import KeptColumns, held_columns

LAST_MOMENT = 253_402_300_799  # unix seconds to the end of year 9999
MAX_CURSOR_CHARS = 4096
_BLANK = b" \t\r\n"
_THREADS_ABOVE = 1024 * 1024  # bytes: below, handing out the work costs more than it brings
_TYPES = {"text": pa.string(), "flag": pa.bool_(), "count": pa.int64()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnPage:
    """A page whose results are columns; `next_page` is the page cursor as it came."""

    buckets: list[Bucket]
    has_more: bool
    next_page: str | None


def read_columns(
    endpoint: Endpoint, body: bytes, keep: Callable[[pa.RecordBatch], KeptColumns] = held_columns
) -> ColumnPage | None:
    """The page in a body, without a Python object for any row; None: have it read record by record.

    Whatever it returns is exactly what reading by record would say, absent fields being null. `keep` keeps
    the columns.
    """
    if endpoint.labels or any(m.kind not in _TYPES for m in endpoint.measures):
        return None
    # Arrow's reader crashes on a null before the first document (pyarrow 26), and skips a byte order mark.
    if not body[:64].lstrip(_BLANK).startswith(b"{"):
        return None
    document = _document(_page_schema(endpoint.measures, endpoint.dimensions), body)
    if document is None or document.num_rows != 1:  # several documents one after the other
        return None
    head = {name: document[name].chunk(0) for name in document.column_names}
    has_more, cursor = head["has_more"][0].as_py(), head["next_page"][0].as_py()
    if not _all_are(head["object"], "page") or has_more is None or len(cursor or "") > MAX_CURSOR_CHARS:
        return None
    buckets = None if head["data"].null_count else _buckets(endpoint, head["data"].flatten(), keep)
    return None if buckets is None else ColumnPage(buckets=buckets, has_more=has_more, next_page=cursor)


def _document(schema: pa.Schema, body: bytes) -> pa.Table | None:
    """The documents in a body as rows; None where one has an unknown field, a wrong type, a repeated key, bad text."""
    try:
        document = pj.read_json(
            pa.BufferReader(body),
            read_options=pj.ReadOptions(block_size=len(body) + 1, use_threads=len(body) > _THREADS_ABOVE),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, newlines_in_values=True, unexpected_field_behavior="error"
            ),
            memory_pool=pa.system_memory_pool(),  # gives memory back: the text of the numbers outweighs them
        )
        document.validate(full=True)  # text is not checked to be UTF-8 before
    except ValueError:  # Arrow's, and that of a message it cannot make of bad text
        return None
    return document


def _buckets(
    endpoint: Endpoint, found: pa.StructArray, keep: Callable[[pa.RecordBatch], KeptColumns]
) -> list[Bucket] | None:
    """The buckets, each with its span of the page's results."""
    fields = {field.name: found.field(n) for n, field in enumerate(found.type)}
    starts, ends, results = fields["start_time"], fields["end_time"], fields["results"]
    if found.null_count or results.null_count or not _all_are(fields["object"], "bucket"):
        return None
    if not (_are_moments(starts) and _are_moments(ends)):
        return None
    rows = results.flatten()
    if rows.null_count:
        return None
    batch = pa.RecordBatch.from_struct_array(rows)
    if not _all_are(batch.column("object"), endpoint.result_object):
        return None
    if any(batch.column(m.name).null_count for m in endpoint.measures if m.is_required):
        return None
    columns = keep(batch.drop_columns(["object"]))
    offsets = results.offsets.to_pylist()
    spans = zip(starts.to_pylist(), ends.to_pylist(), offsets, offsets[1:], strict=False)
    return [
        Bucket(start_time=start, end_time=end, results=ColumnResults(columns, first, last))
        for start, end, first, last in spans
    ]


def _all_are(column: pa.Array, text: str) -> bool:
    """Whether each value is this text; null is not."""
    return column.null_count == 0 and bool(pc.all(pc.equal(column, text), min_count=0).as_py())


def _are_moments(column: pa.Array) -> bool:
    """Whether each value is a time a bucket may have."""
    if column.null_count:
        return False
    ends = pc.min_max(column).as_py()
    return len(column) == 0 or (ends["min"] >= 0 and ends["max"] <= LAST_MOMENT)


@cache
def _page_schema(measures: tuple[Measure, ...], dimensions: tuple[Dimension, ...]) -> pa.Schema:
    """A page of results with these fields; a field beyond these is for the second opinion."""
    text = _TYPES["text"]
    kinds = {d.name: d.kind for d in dimensions} | {m.name: m.kind for m in measures}
    result = pa.struct([("object", text), *((name, _TYPES[kind]) for name, kind in kinds.items())])
    bucket = pa.struct(
        [
            ("object", text),
            ("start_time", pa.int64()),
            ("end_time", pa.int64()),
            ("start_time_iso", text),  # undocumented, seen live
            ("end_time_iso", text),
            ("results", pa.list_(result)),
        ]
    )
    return pa.schema([("object", text), ("data", pa.list_(bucket)), ("has_more", pa.bool_()), ("next_page", text)])
