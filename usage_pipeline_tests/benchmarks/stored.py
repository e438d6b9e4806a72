"""A lake with a long history, made fast: a day that was read once, stored again as many other days.

Put making stored rows here. They go through the pipeline's own doors (`replace_window`, `land`, the coverage log), as
rows that were fetched do; only the fetching and the decoding are left out, and raw files have no pages.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.endpoints import BucketWidth, Endpoint
from usage_pipeline.lake.hashes import content_hash
from usage_pipeline.lake.landing import land
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.replace import replace_window
from usage_pipeline.lake.schemas import PART, part_format
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import Content, DayContent, normalize
from usage_pipeline.settings import Settings
from usage_pipeline.sync import make_client, new_sync_id
from usage_pipeline.windows import Window, utc_now

_LOGGED_TOGETHER = 10  # windows, as a sync does


def read_day(settings: Settings, endpoint: Endpoint, day: date, most_rows: int | None = None) -> Content:
    """A day as the service tells it, or the first rows of it."""

    async def read() -> Content:
        async with make_client(settings) as client:
            width = endpoint.width_for(settings.bucket_width)
            window = Window.of_days(day, day + timedelta(days=1))
            (found,) = await client.read_finest(endpoint, window, bucket_width=width)
        return normalize(endpoint, settings.organization, replace(found, window=window))

    content = asyncio.run(read())
    return _content(content, content.table.slice(0, most_rows), [day])


def store_days(settings: Settings, day: Content, days: Sequence[date], *, at_once: int = 1) -> None:
    """Store the content of the day as that of all these days, so many in a commit; the warehouse is not refreshed."""
    log, sync_id = CoverageLog(Lake(settings.lake_dir)), new_sync_id(utc_now())
    for number, first in enumerate(range(0, len(days), at_once), 1):
        _store(settings, log, _repeated(day, days[first : first + at_once]), sync_id)
        if number % _LOGGED_TOGETHER == 0:
            log.flush()
    log.flush()


def _store(settings: Settings, log: CoverageLog, content: Content, sync_id: str) -> None:
    now = utc_now()
    read = replace(content.read, fetched_at=now)
    replace_window(
        log,
        replace(content, read=read),
        sync_id,
        now,
        land=lambda: land(settings.raw_dir, settings.organization, sync_id, now, read),
    )


def days_before(last: date, count: int) -> list[date]:
    """So many days that end before the last one, in order."""
    return [last - timedelta(days=back) for back in range(count, 0, -1)]


def _repeated(day: Content, days: Sequence[date]) -> Content:
    tables = [_moved(day.table, one, day.read.bucket_width) for one in days]
    return _content(day, pa.concat_tables(tables), days)


def _moved(table: pa.Table, day: date, width: BucketWidth) -> pa.Table:
    """The rows as those of another day."""
    by = pa.scalar(day - table["date"][0].as_py(), pa.duration("us"))
    moved = {
        "date": pa.repeat(pa.scalar(day, pa.date32()), table.num_rows),
        "bucket_start": pc.add(table["bucket_start"], by),
        "bucket_end": pc.add(table["bucket_end"], by),
        PART: pa.repeat(pa.scalar(day.strftime(part_format(width))), table.num_rows),
    }
    return pa.table({name: moved.get(name, table[name]) for name in table.schema.names}, schema=table.schema)


def _content(like: Content, table: pa.Table, days: Sequence[date]) -> Content:
    """These rows, of equally many a day, as what was read of the days."""
    each = table.num_rows // len(days)
    hashed = table.drop_columns([PART])
    return replace(
        like,
        read=replace(like.read, window=Window.of_days(days[0], days[-1] + timedelta(days=1)), pages=[], buckets=[]),
        table=table,
        days={
            day: DayContent(rows=each, content_hash=content_hash(hashed.slice(number * each, each)))
            for number, day in enumerate(days)
        },
    )
