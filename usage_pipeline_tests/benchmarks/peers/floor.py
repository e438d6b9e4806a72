"""The floor: fetch, the fastest decode to Arrow, one Parquet file. Nothing is validated, kept raw or compared."""

import sys

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

BASE, START, END, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
TEXT = ("object", "project_id", "user_id", "api_key_id", "model", "service_tier", "api_source")
COUNTS = (
    "input_tokens",
    "output_tokens",
    "num_model_requests",
    "input_uncached_tokens",
    "input_cached_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
)
RESULT = pa.struct([(n, pa.string()) for n in TEXT] + [("batch", pa.bool_())] + [(n, pa.int64()) for n in COUNTS])
BUCKET = pa.struct(
    [("object", pa.string()), ("start_time", pa.int64()), ("end_time", pa.int64()), ("results", pa.list_(RESULT))]
)
PAGE = pa.schema(
    [("object", pa.string()), ("data", pa.list_(BUCKET)), ("has_more", pa.bool_()), ("next_page", pa.string())]
)


def rows(body: bytes) -> tuple[pa.Table, str | None]:
    """A page's rows, and the next page's cursor."""
    options = pj.ReadOptions(block_size=len(body) + 1)
    page = pj.read_json(
        pa.BufferReader(body), read_options=options, parse_options=pj.ParseOptions(explicit_schema=PAGE)
    )
    buckets = page["data"].combine_chunks().flatten()
    results = buckets.field("results")
    found = pa.Table.from_struct_array(results.flatten())
    start = pc.take(buckets.field("start_time"), pc.list_parent_indices(results))
    return found.append_column("start_time", start), page["next_page"][0].as_py()


def main() -> None:
    """Load the window."""
    query = {"start_time": START, "end_time": END, "bucket_width": "1m", "limit": 1440}
    with httpx.Client(timeout=600) as client:
        writer, cursor = None, None
        while True:
            more = {} if cursor is None else {"page": cursor}
            table, cursor = rows(client.get(f"{BASE}/organization/usage/completions", params=query | more).content)
            writer = writer or pq.ParquetWriter(f"{FOLDER}/floor.parquet", table.schema, compression="zstd")
            writer.write_table(table)
            if cursor is None:
                break
        writer.close()


main()
