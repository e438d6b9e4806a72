"""The walk through the year: each day its schedules, the runs they begin, and the judgement before the next day's.

Put the rules of when a run is begun, and what is counted, here. A run is begun at each of the product's schedules
where the day's has not succeeded, as `daily_sync` does; a killed one again a minute later, twice at most, as
dagster.yaml says. Each run publishes. For time's sake the lists of names are read, and all marts built, once a week and
at the end; three marts otherwise.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.defs.automation import schedules_of
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.name_lists import NameList
from usage_pipeline.settings import Settings
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.windows import day_start
from usage_pipeline_tests.year import judge
from usage_pipeline_tests.year.fate import Fate
from usage_pipeline_tests.year.host import Killed, daily_run, in_process
from usage_pipeline_tests.year.wire import Wire

FIRST = date(2026, 1, 1)
_RETRIES = 2  # of a killed run; dagster.yaml's run_retries
_RETRY_AFTER = timedelta(minutes=1)
_WHOLE_EVERY = 7  # days
_FIRST_SECONDS = 4.0  # what a run takes, until one has been seen


class Wrong(Exception):
    """Something published is not what the service said."""


@dataclass
class Tally:
    """What came of it. A pair is an endpoint's day of yesterday, to be there before the next day's first schedule."""

    days: int = 0
    pairs: int = 0
    fresh: int = 0
    servable: int = 0  # pairs that the service would have answered, to a host that was on, at one schedule at least
    servable_fresh: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    longest_wait: timedelta = timedelta(0)  # of a servable day, from the first schedule to the run that brought it


class Year:
    """A service, a host, a data folder and a calendar."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        days: int,
        failing_share: float,
        lists: Sequence[NameList],
        say: Callable[[str], None],
    ) -> None:
        self.seed = seed
        self.tally = Tally(days=days)
        self._folder = folder
        self._failing_share = failing_share
        self._lists = list(lists)
        self._say = say
        self._fate = Fate(seed, FIRST, days)
        self._clock = VirtualClock(day_start(FIRST))
        self._organization = Organization(seed, self._clock)  # its days, once made to be served, are judged by
        self._seconds = _FIRST_SECONDS
        self._moments: list[datetime] = []  # of every run begun

    def walk(self) -> None:
        """Live the year and judge it.

        Raises:
            Wrong: a published day is not what the service said, or the folder does not end well.
        """
        app = create_app(self._organization)
        wire = Wire(app, self.seed, self._failing_share, lambda: self._fate.is_out(self._clock()))
        with LoopbackServer(wire) as server:
            settings = Settings(
                _env_file=None,
                OPENAI_ADMIN_KEY="sk-admin-year",
                OPENAI_BASE_URL=server.base_url,
                USAGE_PIPELINE_DATA_DIR=str(self._folder),
                USAGE_PIPELINE_START_DATE=str(FIRST),
            )
            began = time.monotonic()
            for number in range(1, self.tally.days + 1):
                day = FIRST + timedelta(days=number)
                self._live(settings, day)
                self._judge_day(settings, day)
                if number % 30 == 0:
                    self._say(f"day {number}: {self._summary()}, {time.monotonic() - began:.0f} s")
            wire.is_calm = True
            self._end(settings, FIRST + timedelta(days=self.tally.days + 1))
            self.tally.requests = wire.seen

    def _live(self, settings: Settings, day: date) -> None:
        """The day's schedules: each begins a run where none has succeeded."""
        is_servable, is_done = False, False
        for moment in schedules_of(day):
            if self._fate.is_off(moment):
                self.tally.runs["not begun: the host was off"] += 1
                continue
            is_servable = is_servable or not self._fate.is_out(moment)
            is_done = is_done or self._run(settings, moment)
            if is_done:
                self.tally.longest_wait = max(self.tally.longest_wait, self._moments[-1] - schedules_of(day)[0])
                break
        self._is_servable = is_servable

    def _run(self, settings: Settings, moment: datetime) -> bool:
        """Whether the run begun at a schedule, or the retry of a killed one, succeeded."""
        for retry in range(_RETRIES + 1):
            now = moment + retry * _RETRY_AFTER
            self._clock.set(now)
            self._moments.append(now)
            is_whole = (now.date() - FIRST).days % _WHOLE_EVERY == 0
            share = self._fate.kill_after()
            try:
                failed, seconds = in_process(
                    now,
                    partial(daily_run, settings, self._lists if is_whole else [], has_all_marts=is_whole),
                    kill_after=None if share is None else share * self._seconds,
                )
            except Killed:
                self.tally.runs["killed"] += 1
                continue
            if failed and not self._fate.is_out(now):
                self._say(f"{now:%Y-%m-%d %H:%M}: {failed[0][:160]}")
            self._seconds = self._seconds if failed else seconds
            self.tally.runs["failed" if failed else "succeeded"] += 1
            return not failed
        return False

    def _judge_day(self, settings: Settings, day: date) -> None:
        """Count what is fresh; whatever was read today must be what the service said at that moment."""
        yesterday, first = day - timedelta(days=1), schedules_of(day)[0]
        checked = judge.checked(settings)
        fresh = sum(checked.get((name, yesterday), first - timedelta(days=1)) >= first for name in ENDPOINTS)
        self.tally.pairs += len(ENDPOINTS)
        self.tally.fresh += fresh
        if self._is_servable:
            self.tally.servable += len(ENDPOINTS)
            self.tally.servable_fresh += fresh
        self._compare(settings, {pair: self._asked(at) for pair, at in checked.items() if at >= first})

    def _asked(self, at: datetime) -> datetime:
        """The moment at which the service stood when a read began: that of its run."""
        return max(moment for moment in self._moments if moment <= at)

    def _compare(self, settings: Settings, said_at: dict[judge.Pair, datetime]) -> None:
        wrong = in_process(self._clock(), lambda: judge.differing(settings, self._organization, self._clock, said_at))
        self.tally.compared += len(said_at)
        if wrong:
            raise Wrong("; ".join(wrong[:3]) + f" ({len(wrong)} in all)")

    def _end(self, settings: Settings, day: date) -> None:
        """After one last run that nothing disturbs, every day of every endpoint is what the service says now."""
        now = schedules_of(day)[0]
        self._clock.set(now)
        failed, _ = in_process(now, lambda: daily_run(settings, self._lists, has_all_marts=True))
        if failed:
            raise Wrong(failed[0])
        every = [FIRST + timedelta(days=number) for number in range((day - FIRST).days + 1)]
        self._compare(settings, {(name, one): now for name in ENDPOINTS for one in every})
        known = judge.checked(settings)
        if known.keys() != {(name, one) for name in ENDPOINTS for one in every}:
            raise Wrong("the coverage has other days than were lived")
        wrong = in_process(now, lambda: judge.ends_well(settings))
        if wrong:
            raise Wrong("; ".join(wrong[:5]))

    def _summary(self) -> str:
        return f"{self.tally.servable_fresh}/{self.tally.servable} fresh, {dict(self.tally.runs)}"
