"""What to read: which days are due for an endpoint, and the window a person or a schedule asked for.

Put decisions by date here; reading is sync.py's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from usage_pipeline.api.page_query import page_limit
from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.ledger import CoverageLog, day_states
from usage_pipeline.lake.settling import DEEP_DAYS, lookback_days, observed_settling
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_runs

_SERVICE_BEGAN = date(2020, 6, 1)
_DEEP_EVERY = timedelta(days=7)

Reason = Literal["never read", "still settling", "last read while settling", "weekly deep re-read", "asked for"]


def asked_window(since: date, until: date | None, now: datetime) -> Window:
    """The window of days `[since, until)`, today included where no end is given; never past today.

    Raises:
        FixConfig: the window is empty or lies in the future.
    """
    tomorrow = now.date() + timedelta(days=1)
    if since < _SERVICE_BEGAN:
        raise FixConfig(f"{since} is before {_SERVICE_BEGAN}, when the service began: choose a later first day.")
    if since >= tomorrow:
        raise FixConfig(f"{since} is in the future: the newest day that can be read is today, {now.date()} (UTC).")
    return Window.of_days(since, min(until or tomorrow, tomorrow))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRead:
    """A window to read: the requests it takes at least, and how many of its days are read for which reason."""

    endpoint: str
    window: Window
    requests: int
    reasons: Mapping[Reason, int]


def planned_reads(
    settings: Settings, log: CoverageLog, endpoints: Iterable[Endpoint], window: Window | None, now: datetime
) -> list[PlannedRead]:
    """What a sync of the window (without one: of what is due) would ask for now; nothing is asked.

    Requests are those of a service that refuses nothing: a dimension refused, or a retry, costs more.

    Raises:
        FixConfig: the start date is in the future.
        LakeDamaged: the coverage log cannot be read.
    """
    found: list[PlannedRead] = []
    for endpoint in endpoints:
        width = endpoint.width_for(settings.bucket_width)
        buckets = page_limit(endpoint, width).maximum
        if window is not None:
            reasons: dict[date, Reason] = dict.fromkeys(window.dates(), "asked for")
        else:
            reasons = due_reasons(settings, log, endpoint, now)
        found += [
            PlannedRead(
                endpoint=endpoint.name,
                window=run,
                requests=sum(1 for _ in run.pages(width, buckets)),
                reasons=Counter(reasons[day] for day in run.dates()),
            )
            for run in ([window] if window is not None else day_runs(list(reasons)))
        ]
    return found


def due_days(settings: Settings, log: CoverageLog, endpoint: Endpoint, now: datetime) -> list[date]:
    """Days to read without being told."""
    return list(due_reasons(settings, log, endpoint, now))


def due_reasons(settings: Settings, log: CoverageLog, endpoint: Endpoint, now: datetime) -> dict[date, Reason]:
    """Days to read without being told, and why: unknown ones, the lookback, those not yet checked at its age, the deep
    re-read.

    What a killed run stored is known, though it came not to log it. The third kind is what a host that was off left
    behind: a day last read while young may have changed since. The last finds what changes later than the lookback
    reaches, and so lengthens it.
    """
    today = now.date()
    first = settings.first_day(today)
    if first > today:
        raise FixConfig(f"USAGE_PIPELINE_START_DATE {first} is in the future: choose today or an earlier day.")
    log.count_unlogged(log.lake.usage(endpoint).open_with_notes())  # of a damaged table the store tells
    settling = observed_settling(log.lake, log.rows(), now, endpoint.name).get((settings.organization, endpoint.name))
    lookback = timedelta(days=lookback_days(settings.lookback_days, settling))
    everything = Window.of_days(first, today + timedelta(days=1))
    known = day_states(log, settings.organization, endpoint.name, everything)
    deep = today - timedelta(days=DEEP_DAYS)
    is_deep_due = any(day >= deep and now - state.checked_at >= _DEEP_EVERY for day, state in known.items())
    found: dict[date, Reason] = {}
    for day in everything.dates():
        if day not in known:
            found[day] = "never read"
        elif day >= today - lookback:
            found[day] = "still settling"
        elif known[day].checked_at.date() < day + lookback:
            found[day] = "last read while settling"
        elif is_deep_due and day >= deep:
            found[day] = "weekly deep re-read"
    return found


def due_windows(settings: Settings, log: CoverageLog, endpoint: Endpoint, now: datetime) -> list[Window]:
    """The due days as the fewest windows."""
    return day_runs(due_days(settings, log, endpoint, now))
