"""Bills by hand: cost rows of chosen days, and names for their projects, for the tests of what is made of the bill.

Put building of played bills here; no test and no assertion.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from usage_pipeline.lake.dims import DIMS, replace_dim
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_start
from usage_pipeline_tests.played import Played, played_settings

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = date(2026, 10, 31)  # the last day of a month, so that two days lie in two billing periods

Cost = Mapping[str, Any]


def cost(value: str, currency: str = "usd", **more: Any) -> Cost:
    """One cost result; `more` by the service's field names."""
    return {"object": "organization.costs.result", "amount": {"value": value, "currency": currency}, **more}


def billed(data_dir: Path, *days: list[Cost], first: date = FIRST) -> tuple[Played, Settings]:
    """A warehouse synced from bills of consecutive days, and the service that played them."""
    service, settings = Played(NOW), played_settings(data_dir)
    put_bills(service, *days, first=first)
    sync_bills(service, settings, len(days), first)
    return service, settings


def put_bills(service: Played, *days: list[Cost], first: date = FIRST) -> None:
    """Set the bills of consecutive days."""
    for n, results in enumerate(days):
        service.put("costs", int(day_start(first + timedelta(days=n)).timestamp()), *results)


def sync_bills(service: Played, settings: Settings, count: int, first: date = FIRST) -> None:
    """Read the bills of consecutive days."""
    service.sync(settings, Window.of_days(first, first + timedelta(days=count)), "costs")


def name_them(settings: Settings, dim: str, *versions: Mapping[str, Any]) -> None:
    """Make a dimension of names hold these versions (id, name, valid_from ...) of the default organization."""
    rows = [{"organization": "default", **version} for version in versions]
    replace_dim(Lake(settings.lake_dir), DIMS[dim], pa.Table.from_pylist(rows, schema=DIMS[dim].schema))
