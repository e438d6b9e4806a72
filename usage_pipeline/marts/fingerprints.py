"""What each day of a mart is made of, as a hash: equal fingerprints mean there is nothing to compute.

Put the making and remembering of fingerprints here; computing what they call for is build.py's.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from usage_pipeline.lake.engine import session
from usage_pipeline.lake.ledger import naive
from usage_pipeline.lake.schemas import MART_LOG
from usage_pipeline.lake.snapshot import Snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.dim_contents import DimContents
from usage_pipeline.marts.registry import Mart
from usage_pipeline.windows import utc_now

# The one "day" under which a mart of scope whole is remembered.
WHOLE = date(1, 1, 1)

_BEGUN = "begun"  # no hash, so no day is ever made of it

_REMEMBERED = """
select organization, mart, date, arg_max(fingerprint, built_at) as fingerprint
from (select organization, mart, built_at, unnest(days, recursive := true) from ({log}))
group by all
"""

# day -> fingerprint; a mart of scope whole has WHOLE alone
DayPrints = dict[date, str]


class Contents:
    """What a snapshot's days hold: per organization, day and endpoint a content hash, what dimensions say, and how many
    rows a day has.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.dims = DimContents(snapshot)
        self.billed: dict[str, list[str]] = defaultdict(list)
        with session() as con:
            closed = con.sql(snapshot.billed_days().sql).order("date").fetchall()
        for organization, day in closed:
            self.billed[organization].append(str(day))
        self.days: dict[str, dict[date, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        self.rows: dict[tuple[str, date], int] = defaultdict(int)
        for row in snapshot.coverage().to_pylist():
            self.days[row["organization"]][row["date"]][row["endpoint"]] = row["content_hash"]
            self.rows[row["organization"], row["date"]] += row["rows"]


def fingerprints(mart: Mart, organization: str, contents: Contents, upstream: Mapping[str, DayPrints]) -> DayPrints:
    """The mart's fingerprints, over its query, the contents and dimensions it reads, and the marts it reads.

    Args:
        mart: whose.
        organization: for which rows.
        contents: what there is to read.
        upstream: fingerprints of the marts it reads, by name.
    """
    endpoints, marts, dims = sorted(mart.endpoints), sorted(mart.marts), sorted(mart.dims)
    fixed = [mart.sql_hash]
    if mart.is_whole:
        fixed += [f"{name}={contents.dims.whole[name]}" for name in dims]
    fixed += [f"{name}={upstream[name][WHOLE]}" for name in marts if WHOLE in upstream[name]]
    if mart.needs_billed_days:
        fixed.append(f"billed_days={_hash(contents.billed[organization])}")
    found: DayPrints = {}
    for day, held in contents.days[organization].items():
        parts = [f"{name}={held[name]}" for name in endpoints if name in held]
        parts += [f"{name}={upstream[name][day]}" for name in marts if day in upstream[name]]
        if parts and not mart.is_whole:
            parts += [f"{name}={contents.dims.on(name, organization, day)}" for name in dims]
        if parts:
            found[day] = _hash([*fixed, *parts])
    if not mart.is_whole:
        return found
    return {WHOLE: _hash([*fixed, *(f"{day}={found[day]}" for day in sorted(found))])}


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def remembered(lake: Lake) -> dict[tuple[str, str], DayPrints]:
    """What the stored days were made of, by organization and mart."""
    table = lake.mart_log.open()
    found: dict[tuple[str, str], DayPrints] = defaultdict(dict)
    if table is not None:
        with session() as con:
            rows = con.execute(_REMEMBERED.format(log=lake.mart_log.scan(table))).fetchall()
        for organization, mart, day, fingerprint in rows:
            if fingerprint:  # empty: the day is gone
                found[organization, mart][day] = fingerprint
    return found


def note_of(mart: Mart, organization: str, rows: int, built: DayPrints) -> dict[str, Any]:
    """What was just computed, as a row to remember."""
    return {
        "organization": organization,
        "mart": mart.name,
        "built_at": naive(utc_now()),
        "rows": rows,
        "days": [{"date": day, "fingerprint": fingerprint} for day, fingerprint in sorted(built.items())],
    }


def announce(lake: Lake, notes: Sequence[Mapping[str, Any]]) -> None:
    """Say what is about to be computed, before any of it is: until it is remembered nobody knows what it holds.

    Killed in between, the next build must not take a mart for what it was before: its days may by then be made of just
    that again.
    """
    begun = [{**note, "days": [{**day, "fingerprint": _BEGUN} for day in note["days"]]} for note in notes]
    remember(lake, begun)


def remember(lake: Lake, notes: Sequence[Mapping[str, Any]]) -> None:
    """Keep the notes, in one commit; what a crash keeps from being noted is computed again."""
    if notes:
        lake.mart_log.append(pa.Table.from_pylist(list(notes), schema=MART_LOG))
