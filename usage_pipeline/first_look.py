"""What a key can see before anything is synced: whether usage and names may be read, and since when there is cost.

Put questions for setting up here; reading for the warehouse is sync.py's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import PermissionRefused
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory, make_client
from usage_pipeline.windows import Window, utc_moment, utc_now

_COSTS = ENDPOINTS["costs"]
_NAMES = LISTS["projects"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstLook:
    """The first day with cost (None: none in `looked_at`), and why names may not be read (None: they may)."""

    looked_at: Window
    first_cost: date | None
    names_refusal: str | None


def first_look(
    settings: Settings, client_factory: ClientFactory = make_client, clock: Callable[[], datetime] = utc_now
) -> FirstLook:
    """Ask for the costs of the days a sync would begin with, ungrouped, and for one list of names.

    Raises:
        FixConfig: the key or the address cannot be used.
        PermissionRefused: the key is refused, or may not read usage.
        RetryLater: the service stayed busy or out of reach.
    """
    client = client_factory(settings)
    today = clock().date()
    window = Window.of_days(min(settings.first_day(today), today), today + timedelta(days=1))

    async def look() -> FirstLook:
        async with client:
            read = await client.read_window(_COSTS, window, bucket_width="1d", group_by=())
            try:
                await client.read_names(_NAMES)
                refusal = None
            except PermissionRefused as refused:
                refusal = str(refused)
        costly = (
            bucket.start_time
            for bucket in ([] if read is None else read.buckets)
            if any(Decimal((result.get("amount") or {}).get("value") or 0) for result in bucket.results)
        )
        first = min(costly, default=None)
        return FirstLook(
            looked_at=window,
            first_cost=None if first is None else utc_moment(first).date(),
            names_refusal=refusal,
        )

    return asyncio.run(look())
