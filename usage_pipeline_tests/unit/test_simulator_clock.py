"""Virtual time."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
import time_machine

from usage_pipeline.simulator.clock import VirtualClock

START = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)


def test_it_stands_still_until_moved() -> None:
    """Without ticking the present changes only by advance and set."""
    clock = VirtualClock(START)
    assert clock() == clock() == START
    clock.advance(timedelta(hours=36))
    assert clock() == datetime(2026, 11, 5, tzinfo=UTC)
    clock.set(START)
    assert clock() == START


def test_it_ticks_with_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticking, an hour of real time is an hour of virtual time, and advance adds to it."""
    passed = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    clock = VirtualClock(START, ticking=True)
    passed[0] += 3600
    assert clock() == START + timedelta(hours=1)
    clock.advance(timedelta(days=1))
    passed[0] += 60
    assert clock() == START + timedelta(days=1, hours=1, minutes=1)


def test_it_speaks_utc() -> None:
    """A time of another zone is the same moment in UTC; a naive one is refused."""
    clock = VirtualClock(datetime(2026, 11, 3, 14, 0, tzinfo=timezone(timedelta(hours=2))))
    assert clock() == START
    assert clock().tzinfo is UTC
    with pytest.raises(ValueError, match="aware time"):
        clock.set(START.replace(tzinfo=None))


def test_the_wall_clock_does_not_move_it() -> None:
    """A jump of the machine's clock leaves virtual time alone."""
    clock = VirtualClock(START)
    with time_machine.travel(datetime(2030, 1, 1, tzinfo=UTC)):
        assert clock() == START
