"""How late closed buckets still change, learned from what syncs found instead of guessed.

Put the evidence and what it says here: restatements of closed buckets, and when their day had been looked at before.
Which days are read again because of it is plan.py's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from usage_pipeline.lake.engine import width_sql
from usage_pipeline.lake.ledger import ask_log, naive
from usage_pipeline.lake.store import Lake

DEEP_DAYS = 35  # once a week so many days are read again, for what comes later than anything seen so far
_MEMORY = timedelta(days=90)  # older evidence does not count: the service changes

# A change found now happened after the day was last looked at, so it came at least that long after the bucket's end.
# When it was found is no evidence: a host that was off for weeks finds late what came soon.
_DELAYS = """
with changed as (
    select r.organization, r.endpoint, r.date, l.fetched_at, count(*) as rows,
        max(r.bucket_start + {width}) as bucket_end
    from ({restatements}) r
    join coverage_log l on l.commit_id = r.commit_id
    where not r.was_provisional and l.fetched_at >= $since and r.endpoint = coalesce($endpoint, r.endpoint)
    group by all
),
looked as (
    select c.organization, c.endpoint, c.rows, c.bucket_end, max(p.fetched_at) as looked_at
    from changed c
    join coverage_log p on p.organization = c.organization and p.endpoint = c.endpoint and p.fetched_at < c.fetched_at
        and p.window_start < c.date + interval 1 day and p.window_end > c.date::timestamp
    group by c.organization, c.endpoint, c.date, c.fetched_at, c.rows, c.bucket_end
)
select organization, endpoint, sum(rows)::bigint as changes, max(epoch_us(looked_at) - epoch_us(bucket_end)) as delay_us
from looked group by all
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


def observed_settling(
    lake: Lake, log: pa.Table, now: datetime, endpoint: str | None = None
) -> dict[tuple[str, str], Settling]:
    """What was learned, by organization and endpoint (all, or this one); those nothing was found of are absent.

    `log` is the coverage log.
    """
    restatements = lake.restatements.open()
    if restatements is None:
        return {}
    statement = _DELAYS.format(restatements=lake.restatements.scan(restatements), width=width_sql("r.bucket_width"))
    found = ask_log(log, statement, {"since": naive(now - _MEMORY), "endpoint": endpoint})
    return {
        (row["organization"], row["endpoint"]): Settling(
            changes=row["changes"], delay=timedelta(microseconds=max(row["delay_us"], 0))
        )
        for row in found.to_pylist()
    }
