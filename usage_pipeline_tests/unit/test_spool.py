"""What is kept aside comes back as it was, from memory and from the nameless file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from usage_pipeline.errors import LakeUnwritable
from usage_pipeline.spool import Spool

COLUMNS = pa.RecordBatch.from_pylist([{"a": n, "b": None if n % 3 else str(n)} for n in range(1000)])


@pytest.mark.parametrize("memory_bytes", [0, 100, 10**6])
def test_bytes_and_columns_come_back_in_any_order(tmp_path: Path, memory_bytes: int) -> None:
    """However much fits into memory, each thing comes back by itself, as often as asked, and the folder stays empty."""
    spool = Spool(tmp_path, memory_bytes=memory_bytes)
    kept = [spool.keep(bytes([n]) * n) for n in range(50)]
    columns = [spool.keep_columns(COLUMNS.slice(n, 7)) for n in range(5)]
    for _ in range(2):
        assert [one() for one in reversed(kept)] == [bytes([n]) * n for n in reversed(range(50))]
        assert all(one().equals(COLUMNS.slice(n, 7)) for n, one in enumerate(columns))
    assert list(tmp_path.iterdir()) == []


def test_columns_without_rows_come_back() -> None:
    """No rows are kept too."""
    assert Spool(memory_bytes=0).keep_columns(COLUMNS.slice(0, 0))().equals(COLUMNS.slice(0, 0))


def test_threads_do_not_mix_what_they_keep(tmp_path: Path) -> None:
    """Several threads that keep and fetch at once get what each of them kept."""
    spool = Spool(tmp_path, memory_bytes=0)

    def keep(number: int) -> bool:
        data = bytes([number]) * 10_000
        return spool.keep(data)() == data

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(keep, range(200)))


def test_what_was_kept_outlives_the_spool(tmp_path: Path) -> None:
    """The file stays open for as long as something in it can be asked for."""
    kept = Spool(tmp_path, memory_bytes=0).keep(b"x" * 1000)
    assert kept() == b"x" * 1000


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    """Where the file cannot be made, the error says so and that nothing was changed."""
    with pytest.raises(LakeUnwritable, match="nothing was changed"):
        Spool(tmp_path / "absent", memory_bytes=0).keep(b"x")
