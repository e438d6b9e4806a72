"""What readers are shown of usage, dims and meta, in a file whose definitions stay when its tables change.

Put the published relations of pinned tables here; what marts show is theirs, writing the file is catalog.py's.
"""

from collections.abc import Iterable, Mapping

from usage_pipeline.lake.engine import identifier, list_sql, literal
from usage_pipeline.lake.ledger import SYNC_LOG_ONCE
from usage_pipeline.lake.meta_columns import COVERAGE_COLUMNS, RESTATEMENT_COLUMNS, SYNC_LOG_COLUMNS
from usage_pipeline.lake.schemas import PART
from usage_pipeline.lake.snapshot import Pinned, Relation, Snapshot, coverage_sql, dim_relation, usage_relation

PINNED = "pinned"  # schema of the macros that say what the views read
_LOOKBACKS = f"from {PINNED}.lookbacks()"

# A restatement counts only when the commit it belongs to was made.
_RESTATEMENTS = "select r.* from ({scan}) r semi join ({log}) l on r.commit_id = l.commit_id"
# Lookbacks are days that a sync reads again; a day read at their age or later has had its time to change.
_PUBLISHED_COVERAGE = """
select * exclude (lookback), checked_at >= date + to_days(coalesce(lookback, {default}) + 1) as is_settled
from (
    select c.*, max(l.fetched_at) as checked_at, max(b.days) as lookback
    from ({coverage}) c
    join ({log}) l on l.organization = c.organization and l.endpoint = c.endpoint
        and l.window_start < c.date + interval 1 day and l.window_end > c.date::timestamp
    left join ({lookbacks}) b on b.organization = c.organization and b.endpoint = c.endpoint
    group by all
)
"""


def file_list(pinned: Pinned) -> str:
    """The macro of the published file that lists a table's files, by the table's place: `pinned.usage_costs`."""
    return f"{PINNED}.{identifier('_'.join(pinned.table.path.parts[-2:]))}"


def shown_scan(pinned: Pinned, *, leave_out: Iterable[str] = ()) -> str:
    """SQL that reads a table in the published file: the files that its macro lists."""
    return pinned.listed_scan(f"{file_list(pinned)}()", leave_out=list(leave_out))


def file_lists(tables: Iterable[Pinned]) -> dict[str, str]:
    """By macro, the files of every table that has any."""
    return {file_list(pinned): list_sql(files) for pinned in tables if (files := pinned.files())}


def shown_lookbacks(of: Mapping[tuple[str, str], int]) -> dict[str, str]:
    """The macro that gives the lookbacks (days, by organization and endpoint) as a table."""
    rows = [f"({literal(who)}, {literal(endpoint)}, {days:d})" for (who, endpoint), days in sorted(of.items())]
    values = ", ".join(rows or ["(null, null, null::integer)"])
    return {
        f"{PINNED}.lookbacks": f"table select * from (values {values}) t(organization, endpoint, days)"  # noqa: S608
    }


def shown_relations(snapshot: Snapshot, default_lookback: int) -> list[Relation]:
    """What the published file shows of usage, meta and dims; days are settled by the published lookbacks, else this."""
    log = SYNC_LOG_ONCE.format(scan=shown_scan(snapshot.sync_log))
    coverage = _PUBLISHED_COVERAGE.format(
        coverage=coverage_sql(log), log=log, lookbacks=_LOOKBACKS, default=int(default_lookback)
    )
    return [
        *(usage_relation(name, shown_scan(pinned, leave_out=[PART])) for name, pinned in snapshot.usage.items()),
        Relation(
            schema="meta",
            name="sync_log",
            sql=log,
            comment="One row per window read and accepted.",
            column_comments=SYNC_LOG_COLUMNS,
        ),
        Relation(
            schema="meta",
            name="restatements",
            sql=_RESTATEMENTS.format(scan=shown_scan(snapshot.restatements), log=log),
            comment="Rows that changed in days read before; was_provisional: their bucket was still open.",
            column_comments=RESTATEMENT_COLUMNS,
        ),
        Relation(
            schema="meta",
            name="coverage",
            sql=coverage,
            comment="One row per known endpoint and day.",
            column_comments=COVERAGE_COLUMNS,
        ),
        *(dim_relation(name, shown_scan(pinned)) for name, pinned in snapshot.dims.items()),
    ]
