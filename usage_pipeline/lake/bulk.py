"""Results that came as columns, brought into an endpoint's columns without touching a row, and the order of rows.

Put whole-column work of the normalization here; what needs a row by itself (sums, extras, money) is tables.py's.
"""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.endpoints import BucketWidth, Endpoint
from usage_pipeline.lake.schemas import PART, part_format, usage_schema
from usage_pipeline.records import Bucket, ColumnResults
from usage_pipeline.windows import utc_moment


def column_rows(endpoint: Endpoint, organization: str, width: BucketWidth, buckets: Sequence[Bucket]) -> pa.Table:
    """The rows of buckets whose results are columns, in their order, with the stored schema."""
    spans = [bucket.results for bucket in buckets if isinstance(bucket.results, ColumnResults)]
    table = _joined(spans)
    of_row = _bucket_of_each_row([len(span) for span in spans])
    per_bucket = bucket_columns(organization, width, [(b.start_time, b.end_time) for b in buckets])
    count = table.num_rows if spans else 0
    arrays = []
    for field in usage_schema(endpoint):
        if field.name in per_bucket:
            arrays.append(pc.take(per_bucket[field.name], of_row))
        elif spans and field.name in table.column_names:
            arrays.append(table[field.name].combine_chunks())
        else:
            arrays.append(pa.nulls(count, field.type))
    return pa.Table.from_arrays(arrays, schema=usage_schema(endpoint))


def bucket_columns(organization: str, width: BucketWidth, bounds: Sequence[tuple[int, int]]) -> Mapping[str, pa.Array]:
    """The columns that are alike for all rows of a bucket, one value for each of the buckets' bounds (unix s)."""
    starts = [utc_moment(start).replace(tzinfo=None) for start, _ in bounds]
    ends = [utc_moment(end).replace(tzinfo=None) for _, end in bounds]
    part = part_format(width)
    return {
        "organization": pa.array([organization] * len(bounds), pa.string()),
        "date": pa.array([start.date() for start in starts], pa.date32()),
        "bucket_start": pa.array(starts, pa.timestamp("us")),
        "bucket_end": pa.array(ends, pa.timestamp("us")),
        "bucket_width": pa.array([width] * len(bounds), pa.string()),
        PART: pa.array([start.strftime(part) for start in starts], pa.string()),
    }


def _joined(spans: Sequence[ColumnResults]) -> pa.Table:
    """The spans one after the other; neighbours in one page are taken together."""
    runs: list[ColumnResults] = []
    for span in spans:
        if runs and runs[-1].columns is span.columns and runs[-1].last == span.first:
            runs[-1] = ColumnResults(span.columns, runs[-1].first, span.last)
        else:
            runs.append(span)
    return pa.Table.from_batches([run.span() for run in runs]) if runs else pa.table({})


def _bucket_of_each_row(counts: Sequence[int]) -> pa.Array:
    """The position of its bucket for each row, by the number of rows in each bucket."""
    offsets = [0]
    for count in counts:
        offsets.append(offsets[-1] + count)
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.nulls(offsets[-1]))
    return pc.list_parent_indices(lists)


def new_values(endpoint: Endpoint, table: pa.Table, tell: Callable[[str, str], None]) -> None:
    """Tell of each value the endpoint table does not know: the dimension's name and the value."""
    for dimension in endpoint.dimensions:
        if dimension.known_values:
            for value in pc.unique(table[dimension.name]).to_pylist():
                if value is not None and value not in dimension.known_values:
                    tell(dimension.name, value)


def in_order(table: pa.Table, columns: Sequence[str]) -> tuple[pa.Table, pa.Array]:
    """The rows in ascending order of the columns, null last, and for all but the first whether they equal the one
    before in all columns.
    """
    ordered = table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in columns]))
    is_same = pa.repeat(pa.scalar(True), max(0, table.num_rows - 1))
    for name in columns:
        column = ordered[name].combine_chunks()
        here, before = column[1:], column[:-1]
        are_null = pc.and_(pc.is_null(here), pc.is_null(before))
        is_same = pc.and_(is_same, pc.or_(pc.fill_null(pc.equal(here, before), False), are_null))
    return ordered, is_same


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """The rows as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
