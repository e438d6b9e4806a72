"""What to read: which days are due for an endpoint, and the window a person or a schedule asked for.

Put decisions by date here; reading is sync.py's.
"""

from datetime import date, datetime, timedelta

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.ledger import CoverageLog, day_states
from usage_pipeline.lake.settling import DEEP_DAYS, lookback_days, observed_settling
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_runs

_SERVICE_BEGAN = date(2020, 6, 1)
_DEEP_EVERY = timedelta(days=7)


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


def due_days(settings: Settings, log: CoverageLog, endpoint: Endpoint, now: datetime) -> list[date]:
    """Days to read without being told: unknown ones, the lookback, those not yet checked at its age, the deep re-read.

    The third kind is what a host that was off left behind: a day last read while young may have changed since. The
    last finds what changes later than the lookback reaches, and so lengthens it.
    """
    today = now.date()
    first = settings.first_day(today)
    if first > today:
        raise FixConfig(f"USAGE_PIPELINE_START_DATE {first} is in the future: choose today or an earlier day.")
    settling = observed_settling(log.lake, log.rows(), now, endpoint.name).get((settings.organization, endpoint.name))
    lookback = timedelta(days=lookback_days(settings.lookback_days, settling))
    everything = Window.of_days(first, today + timedelta(days=1))
    known = day_states(log, settings.organization, endpoint.name, everything)
    deep = today - timedelta(days=DEEP_DAYS)
    is_deep_due = any(day >= deep and now - state.checked_at >= _DEEP_EVERY for day, state in known.items())
    return [
        day
        for day in everything.dates()
        if day not in known
        or day >= (deep if is_deep_due else today - lookback)
        or known[day].checked_at.date() < day + lookback
    ]


def due_windows(settings: Settings, log: CoverageLog, endpoint: Endpoint, now: datetime) -> list[Window]:
    """The due days as the fewest windows."""
    return day_runs(due_days(settings, log, endpoint, now))
