"""What each day of a mart is made of, as a hash: equal fingerprints mean there is nothing to compute.

Put the making and remembering of fingerprints here; computing what they call for is build.py's.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from usage_pipeline.lake.delta_table import CommitConflict
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.ledger import naive
from usage_pipeline.lake.notes import ALONE, noted
from usage_pipeline.lake.schemas import MART_LOG
from usage_pipeline.lake.snapshot import Snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.writing import append_rows
from usage_pipeline.marts.dim_contents import DimContents
from usage_pipeline.marts.registry import Mart
from usage_pipeline.windows import utc_now

# The one "day" under which a mart of scope whole is remembered.
WHOLE = date(1, 1, 1)

_BEGUN = "begun"  # no hash, so no day is ever made of it

_REMEMBERED = """
select organization, mart, date, arg_max(fingerprint, built_at) as fingerprint, max(built_at) as noted_at
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


class Memory:
    """What the stored days are made of, by organization and mart, and which version of the mart log says so."""

    def __init__(self, lake: Lake) -> None:
        self.table = lake.mart_log
        self.newest: datetime | None = None  # when the last of it was noted, by the clock of whoever did
        self.at = self.table.open()
        self.prints: dict[tuple[str, str], DayPrints] = defaultdict(dict)
        if self.at is not None:
            with session() as con:
                rows = con.execute(_REMEMBERED.format(log=self.table.scan(self.at))).fetchall()
            self.newest = max((noted_at for *_, noted_at in rows), default=None)
            for organization, mart, day, fingerprint, _ in rows:
                if fingerprint:  # empty: the day is gone
                    self.prints[organization, mart][day] = fingerprint


def note_of(mart: Mart, organization: str, rows: int, built: DayPrints) -> dict[str, Any]:
    """What was just computed, as a row to remember."""
    return {
        "organization": organization,
        "mart": mart.name,
        "built_at": naive(utc_now()),
        "rows": rows,
        "days": [{"date": day, "fingerprint": fingerprint} for day, fingerprint in sorted(built.items())],
    }


def announce(memory: Memory, notes: Sequence[Mapping[str, Any]]) -> None:
    """Say what is about to be computed, before any of it is: until it is remembered nobody knows what it holds.

    Killed in between, the next build must not take a mart for what it was before: its days may by then be made of just
    that again.

    Raises:
        CommitConflict: another host noted something since the memory was read; nothing was noted.
    """
    begun = [{**note, "days": [{**day, "fingerprint": _BEGUN} for day in note["days"]]} for note in notes]
    if memory.table.mirror is not None and not begun:
        _refuse_changed(memory)
    remember(memory, begun)


def remember(memory: Memory, notes: Sequence[Mapping[str, Any]]) -> None:
    """Keep the notes, in one commit; what a crash keeps from being noted is computed again.

    Builders of several hosts share no lock, so each commit claims the log for itself: what is noted is what the marts
    hold, for nobody else has begun to build meanwhile.

    Raises:
        CommitConflict: another host noted something since the memory was read; nothing was noted.
    """
    if not notes:
        return
    if memory.table.mirror is None:
        memory.table.append(pa.Table.from_pylist(list(notes), schema=MART_LOG))
        return
    if memory.at is None:
        memory.at = memory.table.create()
        if memory.at.version() > 0:
            raise CommitConflict("the mart log: another host was the first to write it")
    # Another host's clock may be ahead: what is noted later has to count.
    soonest = (memory.newest or datetime.min) + timedelta(microseconds=1)  # noqa: DTZ901 - zone-less UTC, as stored
    memory.newest = max(naive(utc_now()), soonest)
    rows = pa.Table.from_pylist([{**note, "built_at": memory.newest} for note in notes], schema=MART_LOG)
    with memory.table.committing(memory.at) as table:
        append_rows(table, rows, noted(None, memory.at, [ALONE]))


def _refuse_changed(memory: Memory) -> None:
    entry = memory.table.newest_entry()
    if (None if entry is None else int(entry[0][:20])) != (None if memory.at is None else memory.at.version()):
        raise CommitConflict("the mart log: another host is building")
