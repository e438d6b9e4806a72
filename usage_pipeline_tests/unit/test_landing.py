"""The raw archive: what is landed comes back byte for byte, and damage is noticed."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.landing import land, landed_files, load
from usage_pipeline.records import RawPage, WindowRead
from usage_pipeline.windows import Window

AT = datetime(2026, 11, 5, 1, 2, 3, 456789, tzinfo=UTC)


def read(*bodies: bytes, fetched_at: datetime = AT) -> WindowRead:
    """A read of two days with these bodies."""
    pages = [RawPage.of(f"/organization/costs?page={n}", AT, b) for n, b in enumerate(bodies)]
    return WindowRead(
        endpoint="costs",
        window=Window.of_times(1793750400, 1793923200),
        bucket_width="1d",
        group_by=("project_id",),
        fetched_at=fetched_at,
        pages=pages,
        buckets=[],
        requests=len(pages),
        notes=("a note",),
    )


def test_pages_come_back_byte_for_byte_with_their_request_and_time(tmp_path: Path) -> None:
    """Bodies of any bytes, newlines and nothing among them, survive landing with all that was said of them."""
    landed = read(b'{"a":\n1}', b"", bytes(range(256)) * 100)
    back = load(land(tmp_path, "default", "sync-1", AT, landed))
    assert back.pages == landed.pages
    assert (back.endpoint, back.organization, back.window, back.group_by) == (
        "costs",
        "default",
        landed.window,
        ("project_id",),
    )
    assert (back.fetched_at, back.recorded_at, back.sync_id, back.notes) == (AT, AT, "sync-1", ("a note",))


def test_files_are_listed_in_the_order_the_reads_began(tmp_path: Path) -> None:
    """Replay order is the order of the reads, across months and endpoints; half-written files are not listed."""
    for n, month in enumerate((12, 1, 11)):
        at = AT.replace(month=month, year=2026 if month > 1 else 2027)
        land(tmp_path, "default", f"sync-{n}", at, read(b"x", fetched_at=at))
    next(landed_files(tmp_path)).with_name(".half.json.zst.1.tmp").write_bytes(b"junk")
    assert [load(path).sync_id for path in landed_files(tmp_path)] == ["sync-2", "sync-0", "sync-1"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other body"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    """A flipped byte, a truncation, an empty file or another body is noticed, and the error names the file."""
    path = land(tmp_path, "default", "sync-1", AT, read(b"hello world" * 50))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "empty":
        content.clear()
    else:
        plain = pa.CompressedInputStream(pa.BufferReader(bytes(content)), "zstd").read()
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(plain.replace(b"hello world", b"hello wurld"))
        content = bytearray(sink.getvalue().to_pybytes())
    path.write_bytes(bytes(content))
    with pytest.raises(LakeDamaged, match=path.name.replace(".", r"\.")):
        load(path)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where the folder refuses the file, no part of it remains."""
    (tmp_path / "default" / "costs").mkdir(parents=True)
    (tmp_path / "default" / "costs" / "2026-11").write_text("in the way")
    with pytest.raises(OSError, match="2026-11"):
        land(tmp_path, "default", "sync-1", AT, read(b"x"))
    assert list(landed_files(tmp_path)) == []
