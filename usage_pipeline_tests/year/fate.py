"""What befalls the year, all of it from the seed: outages of the service, days without the host, kills.

Put what goes wrong and when here; doing it to requests is wire.py's, to processes host.py's.
"""

import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from usage_pipeline.windows import day_start

_MONTH_DAYS = 30
_LONG_YEAR_DAYS = 120  # from this many days on the host is away for a whole week
_KILLED_SHARE = 1 / 12


@dataclass(frozen=True)
class Span:
    """From a moment to before another."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


class Fate:
    """A year's misfortunes: an outage of one to three days each month, the host off once, a kill now and then."""

    def __init__(self, seed: int, first: date, days: int) -> None:
        self._rng = random.Random(f"fate {seed}")
        self.outages = [
            self._span(first, block, min(block + _MONTH_DAYS, days), self._rng.uniform(24, 72))
            for block in range(0, days, _MONTH_DAYS)
        ]
        off_days = 7 if days >= _LONG_YEAR_DAYS else 2
        self.host_off = self._span(first, days // 3, days - 1, off_days * 24)

    def _span(self, first: date, earliest: int, latest: int, hours: float) -> Span:
        """So many hours, begun on a day between the two and over before the second."""
        room = max(1.0, (latest - earliest) * 24 - hours)
        start = day_start(first + timedelta(days=earliest)) + timedelta(hours=self._rng.uniform(0, room))
        return Span(start, start + timedelta(hours=hours))

    def is_out(self, moment: datetime) -> bool:
        """Whether the service refuses everything."""
        return any(moment in outage for outage in self.outages)

    def is_off(self, moment: datetime) -> bool:
        """Whether the host is off."""
        return moment in self.host_off

    def kill_after(self) -> float | None:
        """Whether the next run is killed: then after which share of the time that a run takes."""
        is_killed, share = self._rng.random() < _KILLED_SHARE, self._rng.random()
        return share if is_killed else None
