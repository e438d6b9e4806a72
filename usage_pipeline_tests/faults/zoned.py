"""Syncs around changes of the clock, and what they publish; as a program, in a zone of its own.

Put what is done in each zone here: a zone must be set before the first engine reads it, so each needs a process.
"""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.windows import WIDTH_SECONDS, Window, day_start
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import everything, rows

# The first day to keep, and the time: clocks change in New York on 1 November 2020, in Apia on 4 April 2021, and at
# these times the calendar there shows another day than UTC's.
MOMENTS = {
    "America/New_York": (date(2020, 10, 31), datetime(2020, 11, 2, 2, 30, tzinfo=UTC)),
    "Pacific/Apia": (date(2021, 4, 3), datetime(2021, 4, 5, 23, 30, tzinfo=UTC)),
}
_COVERAGE = "select endpoint, date, rows, content_hash, is_settled from meta.coverage order by all"


def _synced(folder: Path, first: date, now: datetime) -> Settings:
    """What is due by this clock, with a value that tells the hours and days apart."""
    settings = played_settings(folder, USAGE_PIPELINE_START_DATE=first.isoformat(), USAGE_PIPELINE_BUCKET_WIDTH="1h")
    service = Played(now)
    window = Window(day_start(first), now)
    for start in range(window.start_time, window.end_time, WIDTH_SECONDS["1h"]):
        usage = {"object": "organization.usage.completions.result", "input_tokens": start, "output_tokens": 1}
        service.put("completions", start, {**usage, "num_model_requests": 1, "model": "m", "project_id": "p"})
    for start in range(window.start_time, window.end_time, WIDTH_SECONDS["1d"]):
        amount = {"value": f"{start}.01", "currency": "usd"}
        service.put("costs", start, {"object": "organization.costs.result", "amount": amount, "project_id": "p"})
    report = sync(
        settings, choose_endpoints(["completions", "costs"]), clock=lambda: now, client_factory=service.client
    )
    assert not report.failed, [str(one.error) for one in report.failed]
    assert report.refreshed is not None, report.refresh_error
    return settings


def published(folder: Path, zone: str) -> dict[str, Any]:
    """Sync at the zone's moment; everything readers see, as JSON has it."""
    with only_marts("cost_daily", "usage_daily"):
        settings = _synced(folder, *MOMENTS[zone])
        found = {**everything(settings), "meta.coverage": rows(settings, _COVERAGE)}
    return dict(json.loads(json.dumps(found, default=str)))


if __name__ == "__main__":
    offset = datetime(2021, 1, 1, tzinfo=UTC).astimezone().utcoffset()
    found = published(Path(sys.argv[1]), sys.argv[2])
    print(json.dumps({"hours": offset and offset.total_seconds() / 3600, "published": found}))  # noqa: T201
