"""Virtual time: the present a simulated organization lives in.

Put clocks here; what happens as time passes is decided by the other modules of this folder.
"""

import time
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """A present that moves only when told to, or, when ticking, also with real time."""

    def __init__(self, now: datetime, *, ticking: bool = False) -> None:
        self._ticking = ticking
        self.set(now)

    def __call__(self) -> datetime:
        """The present."""
        if not self._ticking:
            return self._set_to
        return self._set_to + timedelta(seconds=time.monotonic() - self._set_at)

    def set(self, now: datetime) -> None:
        """Move to a moment."""
        if now.tzinfo is None:
            raise ValueError(f"a virtual clock needs an aware time, not {now!r}")
        self._set_to = now.astimezone(UTC)
        self._set_at = time.monotonic()

    def advance(self, step: timedelta) -> None:
        """Move forward from the present."""
        self.set(self() + step)
