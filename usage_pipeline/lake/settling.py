"""How late closed buckets still change, learned from what syncs found instead of guessed.

Put the evidence and what it says here: restatements of closed buckets, and when their day had been looked at before.
Which days are read again because of it is plan.py's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from usage_pipeline.lake.engine import session, width_sql
from usage_pipeline.lake.ledger import SYNC_LOG_ONCE, naive
from usage_pipeline.lake.store import Lake

DEEP_DAYS = 35  # once a week so many days are read again, for what comes later than anything seen so far
_MEMORY = timedelta(days=90)  # older evidence does not count: the service changes

# A change found now happened after the day was last looked at, so it came at least that long after the bucket's end.
# When it was found is no evidence: a host that was off for weeks finds late what came soon.
_DELAYS = """
with log as ({log}),
changed as (
    select r.organization, r.endpoint, r.date, l.fetched_at, count(*) as rows,
        max(r.bucket_start + {width}) as bucket_end
    from ({restatements}) r
    join log l on l.commit_id = r.commit_id
    where not r.was_provisional and l.fetched_at >= $since and r.endpoint = coalesce($endpoint, r.endpoint)
    group by all
),
looked as (
    select c.organization, c.endpoint, c.rows, c.bucket_end, max(p.fetched_at) as looked_at
    from changed c
    join log p on p.organization = c.organization and p.endpoint = c.endpoint and p.fetched_at < c.fetched_at
        and p.window_start < c.date + interval 1 day and p.window_end > c.date::timestamp
    group by c.organization, c.endpoint, c.date, c.fetched_at, c.rows, c.bucket_end
)
select organization, endpoint, sum(rows)::bigint, max(looked_at - bucket_end) from looked group by all
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settling:
    """Rows of closed buckets that changed in the last 90 days, and how long after its end one still did, at least."""

    changes: int
    delay: timedelta


def lookback_days(configured: int, settling: Settling | None) -> int:
    """Trailing days to read again: as far back as closed buckets were seen to change, never less than configured."""
    learned = 0 if settling is None else settling.delay.days + 2  # the day it lies in, and the one it may grow by
    return max(configured, 1, min(learned, DEEP_DAYS))


def observed_settling(lake: Lake, now: datetime, endpoint: str | None = None) -> dict[tuple[str, str], Settling]:
    """What was learned, by organization and endpoint (all, or this one); those nothing was found of are absent."""
    log, restatements = lake.sync_log.open(), lake.restatements.open()
    if log is None or restatements is None:
        return {}
    statement = _DELAYS.format(
        log=SYNC_LOG_ONCE.format(scan=lake.sync_log.scan(log)),
        restatements=lake.restatements.scan(restatements),
        width=width_sql("r.bucket_width"),
    )
    with session() as con:
        rows = con.execute(statement, {"since": naive(now - _MEMORY), "endpoint": endpoint}).fetchall()
    return {
        (organization, endpoint): Settling(changes=changes, delay=max(delay, timedelta(0)))
        for organization, endpoint, changes, delay in rows
    }
