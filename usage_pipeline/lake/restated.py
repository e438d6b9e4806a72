"""The restatement ledger against the coverage log: whether it has every change that the log counts.

Put that question here, and what becomes of the two where the answer is no; when to ask is verify's and the doctor's.
"""

from collections import defaultdict
from collections.abc import Collection

import pyarrow as pa

from usage_pipeline.lake.engine import session
from usage_pipeline.lake.vouched import EndpointDay

LOST_CHANGES = "some of what this read changed is lost"  # among a row's notes: nothing has it any more

_MISCOUNTED = """
select l.commit_id
from coverage_log l
left join (
    select
        commit_id,
        count(*) filter (change = 'updated') as updated,
        count(*) filter (change = 'deleted') as deleted,
        count(*) filter (not was_provisional) as restated
    from restatements
    group by commit_id
) r on r.commit_id = l.commit_id
where (l.updated, l.deleted, l.restated)
        is distinct from (coalesce(r.updated, 0), coalesce(r.deleted, 0), coalesce(r.restated, 0))
"""
# Of rows that were new in open buckets no count tells how many there were: the log counts them with first loads.
_MENDED = """
select * from found where commit_id not in (select unnest($exact))
union all
select * from again a
where commit_id in (select unnest($exact)) or (
    (
        commit_id in (select unnest($wrong))
        or change = 'inserted' and was_provisional and commit_id in (select commit_id from coverage_log)
    )
    and not exists (
        from found f
        where f.commit_id = a.commit_id and f.organization = a.organization and f.endpoint = a.endpoint
            and f.bucket_start = a.bucket_start and f.bucket_width = a.bucket_width and f.key = a.key
    )
)
order by recorded_at, commit_id, date, key
"""


def miscounted(log: pa.Table, restatements: pa.Table) -> set[str]:
    """The commits of which the ledger has more or fewer changes than the coverage log says."""
    with session() as con:
        con.register("coverage_log", log.drop_columns(["days"]))
        con.register("restatements", restatements)
        return {commit for (commit,) in con.execute(_MISCOUNTED).fetchall()}


def mended(log: pa.Table, found: pa.Table, again: pa.Table) -> pa.Table:
    """The changes that were found; those of miscounted commits as made again, where these are all that the log counts.

    Where that has not all either, both together: what one has, the other may lack. So for rows that were new in open
    buckets, too, of whichever commit.
    """
    wrong = miscounted(log, found)
    exact = wrong - miscounted(log, again)
    with session() as con:
        con.register("coverage_log", log.select(["commit_id"]))
        con.register("found", found)
        con.register("again", again)
        rows: pa.Table = con.sql(_MENDED, params={"exact": sorted(exact), "wrong": sorted(wrong)}).to_arrow_table()
    return rows.cast(found.schema)


def in_days(
    restatements: pa.Table, days: Collection[EndpointDay], commits: Collection[str], *, is_in: bool
) -> pa.Table:
    """The changes of these commits on these days, or all others."""
    names = ("commit_id", "organization", "endpoint", "date")
    places = zip(*(restatements[name].to_pylist() for name in names), strict=True)
    wanted = [(commit_id in commits and (*day,) in days) == is_in for commit_id, *day in places]
    return restatements.filter(pa.array(wanted, pa.bool_()))


def recounted(log: pa.Table, restatements: pa.Table, commits: Collection[str]) -> pa.Table:
    """The coverage log, in which the rows of these commits count what the ledger has of them."""
    by_commit: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    told = zip(*(restatements[name].to_pylist() for name in ("commit_id", "change", "was_provisional")), strict=True)
    for commit_id, change, was_provisional in told:
        by_commit[commit_id].append((change, was_provisional))
    rows = log.to_pylist()
    for row in rows:
        if row["commit_id"] in commits:
            changes = by_commit[row["commit_id"]]
            row["updated"] = sum(change == "updated" for change, _ in changes)
            row["deleted"] = sum(change == "deleted" for change, _ in changes)
            row["restated"] = sum(not was for _, was in changes)
    return pa.Table.from_pylist(rows, schema=log.schema)


def with_lost_changes(log: pa.Table, restatements: pa.Table, commits: Collection[str]) -> pa.Table:
    """The coverage log, in which the rows of these commits say that some of what they changed is lost.

    They count what the ledger has left of it, so that the loss of that would be found, too.
    """
    rows = recounted(log, restatements, commits).to_pylist()
    for row in rows:
        if row["commit_id"] in commits and LOST_CHANGES not in (row["notes"] or []):
            row["notes"] = [*(row["notes"] or []), LOST_CHANGES]
    return pa.Table.from_pylist(rows, schema=log.schema)


def lost_changes(log: pa.Table) -> list[str]:
    """What to say of each read of which some changes are lost."""
    return [
        f"{row['endpoint']} of {row['organization']} read at {row['fetched_at']:%Y-%m-%d %H:%M}: {LOST_CHANGES}; the "
        "days are as the service gave them"
        for row in log.select(["organization", "endpoint", "fetched_at", "notes"]).to_pylist()
        if LOST_CHANGES in (row["notes"] or [])
    ]
