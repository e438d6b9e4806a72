"""Whether the stored days are what the coverage log says, by their content hashes.

Put questions about what usage tables hold against what was recorded here; files as such are seals.py's.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.hashes import content_hash
from usage_pipeline.lake.schemas import PART, storage_parts
from usage_pipeline.lake.seals import Seals
from usage_pipeline.lake.snapshot import Pinned, Snapshot

OrganizationDay = tuple[str, date]


def recorded_days(coverage: pa.Table) -> dict[str, dict[OrganizationDay, tuple[int, str]]]:
    """Rows and content hash of every known day by the coverage log, per endpoint."""
    found: dict[str, dict[OrganizationDay, tuple[int, str]]] = defaultdict(dict)
    for row in coverage.to_pylist():
        found[row["endpoint"]][row["organization"], row["date"]] = (row["rows"], row["content_hash"])
    return found


def stored_rows(pinned: Pinned, parts: Collection[tuple[str, str]] | None = None) -> pa.Table:
    """The rows of a usage table (of some storage partitions), with its stored schema."""
    with session() as con:
        rows: pa.Table = con.sql(pinned.scan(parts)).to_arrow_table()
    return rows.cast(pinned.table.schema)


def days_of(endpoint: Endpoint, rows: pa.Table) -> dict[OrganizationDay, tuple[int, str]]:
    """Rows and content hash of every day among the rows, as `normalize` gave them."""
    order = ["organization", "date", "bucket_start", *endpoint.grain]
    ordered = rows.drop_columns([PART]).sort_by([(name, "ascending") for name in order])
    # Groups come in no order one may rely on (seen with several chunks), so they are brought into that of the rows.
    counts = (
        ordered.group_by(order[:2]).aggregate([([], "count_all")]).sort_by([(name, "ascending") for name in order[:2]])
    )
    found, start = {}, 0
    for organization, day, count in zip(*(column.to_pylist() for column in counts.columns), strict=True):
        found[organization, day] = (count, content_hash(ordered.slice(start, count)))
        start += count
    return found


def rows_of_days(rows: pa.Table, days: Collection[OrganizationDay]) -> pa.Table:
    """Those of the rows that lie in the days."""
    wanted = pa.array([False] * rows.num_rows, pa.bool_())
    for organization in {one for one, _ in days}:
        own = pa.array([day for one, day in days if one == organization], pa.date32())
        wanted = pc.or_(wanted, pc.and_(pc.equal(rows["organization"], organization), pc.is_in(rows["date"], own)))
    return rows.filter(wanted)


def differing_days(
    endpoint: Endpoint, rows: pa.Table, recorded: Mapping[OrganizationDay, tuple[int, str]]
) -> set[OrganizationDay]:
    """The days whose rows are not those that were recorded, and days nobody recorded."""
    stored = days_of(endpoint, rows)
    wrong = {day for day, (count, hashed) in recorded.items() if count and stored.get(day) != (count, hashed)}
    return wrong | {day for day in stored if recorded.get(day) != stored[day]}


def check_unsealed(snapshot: Snapshot, seals: Seals) -> None:
    """Compare what has come since the last refresh with the coverage log, before it is sealed: a loss of power may
    have torn it.

    Raises:
        LakeDamaged: a day is not what was recorded.
    """
    recorded = recorded_days(snapshot.coverage())
    for name, pinned in snapshot.usage.items():
        data_dir = pinned.table.path.parent.parent.parent.resolve()
        new = [file for file in pinned.files() if str(Path(file).relative_to(data_dir)) not in seals]
        if not new:
            continue
        wrong = _wrong_days(pinned, ENDPOINTS[name], {_parts(file) for file in new}, recorded[name])
        if wrong:
            organization, day = min(wrong)
            raise LakeDamaged(
                f"usage.{name} is not what was written ({organization}, {day} and {len(wrong) - 1} days more): run "
                "`usage-pipeline doctor`, which rebuilds them from the raw archive. Nothing was published."
            )


def _wrong_days(
    pinned: Pinned,
    endpoint: Endpoint,
    parts: Collection[tuple[str, str]],
    recorded: Mapping[OrganizationDay, tuple[int, str]],
) -> set[OrganizationDay]:
    """The days in these storage partitions that are not what was recorded; one partition in memory at a time."""
    wrong = set()
    for part in sorted(parts):
        known = {day: held for day, held in recorded.items() if part in _places(day)}
        for day in differing_days(endpoint, rows_of_days(stored_rows(pinned, [part]), known), known):
            # A day of another bucket width lies in another partition.
            rows = rows_of_days(stored_rows(pinned, _places(day)), [day])
            wrong |= differing_days(endpoint, rows, {day: known[day]})
    return wrong


def _places(day: OrganizationDay) -> set[tuple[str, str]]:
    return {(day[0], part) for part in storage_parts([day[1]])}


def _parts(file: str) -> tuple[str, str]:
    """Organization and storage partition of a data file, by its folders."""
    organization, part = Path(file).parts[-3:-1]
    return organization.partition("=")[2], part.partition("=")[2]
