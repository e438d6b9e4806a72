"""Delta tables: what writers of one table do to each other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from usage_pipeline.lake.schemas import RESTATEMENTS
from usage_pipeline.lake.store import Lake

WRITERS = 3
TABLES = 8  # without a lock the race was lost at about every other one


def test_writers_that_begin_a_table_at_once_write_each_row_once(tmp_path: Path) -> None:
    """One of them creates it; none fails, has to write again, or leaves a file that no table names."""
    tables = [Lake(tmp_path / str(number) / "lake").restatements for number in range(TABLES)]
    barrier = threading.Barrier(WRITERS)

    def write(writer: int) -> None:
        for table in tables:
            barrier.wait()
            table.append(pa.Table.from_pylist([{"commit_id": str(writer)}], schema=RESTATEMENTS))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    for table in tables:
        at = table.open()
        assert at is not None
        assert sorted(commit["operation"] for commit in at.history()) == ["CREATE TABLE", *["WRITE"] * WRITERS]
        files = table.files(at)
        assert files == sorted(map(str, table.path.rglob("*.parquet")))
        assert sorted(pq.read_table(files)["commit_id"].to_pylist()) == [str(one) for one in range(WRITERS)]
