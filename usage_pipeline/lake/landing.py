"""The raw archive: every accepted response as received, append-only, durable before the lake changes.

A landed file is zstd: one JSON line (what was asked, when, and each page's request, time, length and SHA-256), then
the bodies. It holds one read: of a window of an endpoint, or of a list of names (its line then has `list`).
Put writing and reading of these files here; what the bodies say is models.py's.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.disk import sync_to_disk
from usage_pipeline.lake.formats import FORMAT, newer
from usage_pipeline.lake.links import refuse_linked_path
from usage_pipeline.records import NamesRead, RawPage, WindowRead
from usage_pipeline.windows import Window

_SUFFIX = ".json.zst"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, kw_only=True, slots=True)
class LandedNames:
    """One landed file of a list of names: the pages it was read in."""

    path: Path
    organization: str
    list_name: str
    fetched_at: datetime
    sync_id: str
    pages: list[RawPage]


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed:
    """One landed file of a window: the read it holds, without its buckets."""

    path: Path
    organization: str
    endpoint: str
    window: Window
    bucket_width: BucketWidth
    group_by: tuple[str, ...]
    fetched_at: datetime
    sync_id: str
    recorded_at: datetime
    notes: tuple[str, ...]
    pages: list[RawPage]


def land(root: Path, organization: str, sync_id: str, recorded_at: datetime, read: WindowRead) -> Path:
    """Write a read's pages durably and return the file; it appears whole or not at all.

    `recorded_at` is when the lake learnt of it: replay writes the same time into the ledgers.
    """
    header = {
        "format": FORMAT,
        "organization": organization,
        "endpoint": read.endpoint,
        "window": [read.window.start_time, read.window.end_time],
        "bucket_width": read.bucket_width,
        "group_by": list(read.group_by),
        "fetched_at": read.fetched_at.isoformat(),
        "sync_id": sync_id,
        "recorded_at": recorded_at.isoformat(),
        "notes": list(read.notes),
        "pages": _described(read.pages),
    }
    path = landed_path(root, organization, read.endpoint, read.fetched_at, sync_id, read.window)
    return _write(root, path, header, read.pages)


def landed_path(
    root: Path, organization: str, endpoint: str, fetched_at: datetime, sync_id: str, window: Window
) -> Path:
    """Where a read of a window is landed."""
    # The asked window in the name keeps apart the reads of one sync that a grouping floor divided.
    name = f"{fetched_at.strftime(_STAMP)}-{sync_id}-{window.start_time}{_SUFFIX}"
    return _folder(root, organization, endpoint, fetched_at) / name


def land_names(root: Path, organization: str, sync_id: str, read: NamesRead) -> Path:
    """Write the pages of a list of names durably and return the file."""
    header = {
        "format": FORMAT,
        "organization": organization,
        "list": read.list_name,
        "fetched_at": read.fetched_at.isoformat(),
        "sync_id": sync_id,
        "pages": _described(read.pages),
    }
    name = f"{read.fetched_at.strftime(_STAMP)}-{sync_id}{_SUFFIX}"
    path = _folder(root, organization, f"dims.{read.list_name}", read.fetched_at) / name
    return _write(root, path, header, read.pages)


def landed_at(path: Path) -> datetime:
    """When the read of a landed file began, zone-less UTC, by the file's name."""
    return datetime.strptime(path.name.partition("-")[0], _STAMP)  # noqa: DTZ007 - as the lake stores times


def _folder(root: Path, organization: str, table: str, fetched_at: datetime) -> Path:
    return root / organization / table / fetched_at.strftime("%Y-%m")


def _described(pages: list[RawPage]) -> list[dict[str, Any]]:
    return [
        {
            "request": page.request,
            "received_at": page.received_at.isoformat(),
            "bytes": page.size,
            "sha256": page.sha256,
        }
        for page in pages
    ]


def _write(root: Path, path: Path, header: dict[str, Any], pages: list[RawPage]) -> Path:
    refuse_linked_path(root.parent, path)
    new = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_durably(path, json.dumps(header).encode() + b"\n", pages)
    for folder in new:  # each lasts once the folder that holds it does
        sync_to_disk(folder.parent)
    return path


def _write_durably(path: Path, header: bytes, pages: list[RawPage]) -> None:
    """Temporary file, fsync, rename, fsync of the folder: after a power loss the file is whole or absent.

    Each page is a zstd frame of its own, as it was kept; frames one after the other read as one file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            out.write(pa.compress(header, "zstd", asbytes=True))
            for page in pages:
                out.write(page.packed())
        sync_to_disk(temporary)
        temporary.rename(path)
        sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def landed_files(root: Path, *, table: str = "*") -> Iterator[Path]:
    """Every landed file (of a table: an endpoint's name, `dims.` and a list's), in the order the reads began."""
    yield from sorted(root.glob(f"*/{table}/*/[!.]*{_SUFFIX}"), key=lambda path: (path.name, path.parts))


def load(path: Path) -> Landed | LandedNames:
    """Read a landed file back.

    Raises:
        LakeDamaged: the file is not what was written.
        NewerFormat: a newer version wrote it.
    """
    try:
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            content = stream.read()
        head, _, bodies = content.partition(b"\n")
        header = json.loads(head)
        if header.get("format", FORMAT) > FORMAT:
            raise newer(path, header["format"])
        pages = _pages(path, header["pages"], bodies)
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise LakeDamaged(
            f"raw file {path} cannot be read ({type(wrong).__name__}): restore it from a backup."
        ) from None
    if "list" in header:
        return LandedNames(
            path=path,
            organization=header["organization"],
            list_name=header["list"],
            fetched_at=datetime.fromisoformat(header["fetched_at"]).astimezone(UTC),
            sync_id=header["sync_id"],
            pages=pages,
        )
    return Landed(
        path=path,
        organization=header["organization"],
        endpoint=header["endpoint"],
        window=Window.of_times(*header["window"]),
        bucket_width=header["bucket_width"],
        group_by=tuple(header["group_by"]),
        fetched_at=datetime.fromisoformat(header["fetched_at"]).astimezone(UTC),
        sync_id=header["sync_id"],
        recorded_at=datetime.fromisoformat(header["recorded_at"]).astimezone(UTC),
        notes=tuple(header["notes"]),
        pages=pages,
    )


def _pages(path: Path, described: list[dict[str, Any]], bodies: bytes) -> list[RawPage]:
    pages: list[RawPage] = []
    start = 0
    for entry in described:
        body = bodies[start : start + entry["bytes"]]
        start += entry["bytes"]
        page = RawPage.of(entry["request"], datetime.fromisoformat(entry["received_at"]), body)
        if page.sha256 != entry["sha256"]:
            raise LakeDamaged(f"raw file {path} was altered: a page's SHA-256 differs; restore it from a backup.")
        pages.append(page)
    if start != len(bodies):
        raise LakeDamaged(f"raw file {path} was altered: it is longer than it says; restore it from a backup.")
    return pages
