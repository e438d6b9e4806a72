"""Lists of names into the slowly changing dims tables: what was renamed, what is new, what is gone.

Put the merge of a complete list here; the tables' columns are dims.py's, reading lists the client's. What a list says
holds from when its read began; a list that is not complete never comes here.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from usage_pipeline.errors import WarehouseBusy
from usage_pipeline.lake.delta_table import CommitConflict
from usage_pipeline.lake.dims import DIMS, SIGHTINGS, Dim, hold_dim, replace_dim
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import naive
from usage_pipeline.lake.shared_raw import land_shared, take_back
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import json_text
from usage_pipeline.name_lists import LISTS
from usage_pipeline.records import ListedName

Row = dict[str, Any]

_log = logging.getLogger(__name__)
_ATTEMPTS = 12
_SEEN_AGAIN_AFTER = timedelta(days=1)  # how old last_seen may grow before a list without news is written


@dataclass(frozen=True, kw_only=True, slots=True)
class NameChanges:
    """What a list changed: ids held now and listed, new ones, new versions, ids gone; and whether it was written."""

    rows: int
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    is_written: bool = False

    @property
    def outcome(self) -> str:
        """`replaced` where something was new, else `unchanged`."""
        return "replaced" if self.inserted or self.updated or self.deleted else "unchanged"


def replace_names(
    lake: Lake,
    list_name: str,
    organization: str,
    items: Sequence[ListedName],
    fetched_at: datetime,
    land: Callable[[], Path] | None = None,
) -> NameChanges:
    """Bring a complete list into its dims table; the caller holds the lock of the dims.

    Nothing is written where the list says what is held and was seen within a day, nor where a list read later is held
    already. `land` writes the raw pages, before the table changes; replay, which reads them, gives none.

    Raises:
        LakeUnwritable: the disk or folder refused; nothing was changed.
        LakeDamaged: the table cannot be read.
        WarehouseBusy: other hosts won every attempt; nothing was changed.
    """
    landed: list[Path] = []

    def land_once() -> None:
        if land is not None and not landed:
            landed.append(land_shared(lake.mirror, land))

    with files_explained(f"dims.{list_name}"):
        for _ in range(_ATTEMPTS):
            try:
                return _replace(lake, DIMS[list_name], organization, items, naive(fetched_at), land_once)
            except CommitConflict:  # the lock is of this host; what another one told is merged with
                _log.info("dims.%s: another host was first, merging again", list_name)
            except Exception:
                take_back(lake.mirror, next(iter(landed), None))
                raise
    raise WarehouseBusy(f"dims.{list_name}: other hosts kept changing the list; run the sync again.")


def _replace(
    lake: Lake,
    dim: Dim,
    organization: str,
    items: Sequence[ListedName],
    seen_at: datetime,
    land: Callable[[], None],
) -> NameChanges:
    found = hold_dim(lake, dim)
    rows = found.rows.to_pylist()
    held = [row for row in rows if row["organization"] == organization]
    if seen_at <= seen_until(held):
        return NameChanges(rows=len(items))
    listed = [_row(dim, organization, item) for item in items]
    merged = merge_names(held, listed, seen_at, since=LISTS[dim.name].since)
    changes = _changes(held, merged, len(items))
    if not changes.is_written:
        return changes
    others = [row for row in rows if row["organization"] != organization]
    land()
    replace_dim(lake, dim, pa.Table.from_pylist([*others, *merged], schema=dim.schema), found)
    return changes


def seen_until(rows: Iterable[Row]) -> datetime:
    """When the newest list that these versions know of was read, zone-less UTC."""
    return max((row[name] for row in rows for name in ("last_seen", "deleted_at") if row[name]), default=_NEVER)


_NEVER = datetime.min  # noqa: DTZ901 - compared with the zone-less UTC times the lake stores
# Columns the merge itself fills; every other column is an attribute, whose change opens a version.
_KEPT_BY_MERGE = {"valid_from", "valid_to", "first_seen", "last_seen", "deleted_at", "extras"}


def merge_names(held: Iterable[Row], listed: Iterable[Row], seen_at: datetime, *, since: str) -> list[Row]:
    """The versions after a complete list, in order of id and time; times are zone-less UTC.

    Args:
        held: every version held, of one organization.
        listed: the objects of the list: `organization`, `id`, `name`, attributes and `extras`.
        seen_at: when the read of the list began, later than anything held.
        since: the attribute that says when an object began; its first version holds from then.
    """
    versions: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(held, key=lambda row: row["valid_from"]):
        versions[row["id"]].append(dict(row))
    present = {row["id"]: row for row in listed}
    for id_, row in present.items():
        _see(versions[id_], row, seen_at, since)
    for id_, known in versions.items():
        if id_ not in present and known[0]["deleted_at"] is None:
            _mark(known, deleted_at=seen_at)
    return [row for id_ in sorted(versions) for row in versions[id_]]


def _see(known: list[Row], row: Row, seen_at: datetime, since: str) -> None:
    """Take in one listed object: a first version, another one, or the same seen again."""
    if not known:
        begun = row.get(since) or seen_at
        known.append({**row, "valid_from": min(begun, seen_at), "valid_to": None, "first_seen": seen_at})
    elif any(known[-1][name] != value for name, value in row.items() if name not in _KEPT_BY_MERGE):
        known[-1]["valid_to"] = seen_at
        known.append({**row, "valid_from": seen_at, "valid_to": None, "first_seen": known[0]["first_seen"]})
    known[-1]["extras"] = row.get("extras")
    _mark(known, last_seen=seen_at, deleted_at=None)


def _mark(known: list[Row], **sightings: datetime | None) -> None:
    """Sightings are the object's, so all its versions carry them."""
    for row in known:
        row.update(sightings)


def _row(dim: Dim, organization: str, item: ListedName) -> Row:
    """A listed object as a row, without what the merge fills."""
    values: Mapping[str, Any] = {
        name: naive(value) if isinstance(value, datetime) else value for name, value in item.columns.items()
    }
    attributes = {name: values.get(name) for name in dim.schema.names if name not in _KEPT_BY_MERGE}
    extras = json_text(item.extras) if item.extras else None
    return {**attributes, "organization": organization, "id": item.id, "extras": extras}


def _changes(held: list[Row], merged: list[Row], listed: int) -> NameChanges:
    """What is different, and whether it is worth a commit."""
    before, after = ({(row["id"], row["valid_from"]): row for row in rows} for rows in (held, merged))
    known = {row["id"] for row in held}
    inserted = {row["id"] for row in merged} - known
    different = {key[0] for key, row in after.items() if _content(row) != _content(before.get(key, {}))} - inserted
    gone = {row["id"] for row in merged if row["deleted_at"] is not None} & different
    news = bool(inserted or different)
    ages = [row["last_seen"] - before[key]["last_seen"] for key, row in after.items() if key in before]
    return NameChanges(
        rows=listed,
        inserted=len(inserted),
        updated=len(different - gone),
        deleted=len(gone),
        is_written=news or max(ages, default=timedelta()) >= _SEEN_AGAIN_AFTER,
    )


def _content(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in SIGHTINGS}
