"""The machine: does one step of a history to a real data folder and compares all that is there with the memory.

Put what a step does and what must hold after it here; which steps a history has is history.py's.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake import engine
from usage_pipeline.replay import replay
from usage_pipeline.sync import SyncReport, choose_endpoints, sync
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.oracle import observed, points
from usage_pipeline_tests.oracle.comparing import agrees, difference
from usage_pipeline_tests.oracle.memory import Read, View, World
from usage_pipeline_tests.oracle.service import Fault, Service
from usage_pipeline_tests.oracle.truth import ENDPOINTS, FIRST_DAY
from usage_pipeline_tests.played import played_settings

LOOKBACK = 2
_START = datetime(2026, 11, 1, 9, tzinfo=UTC)


class Wrong(AssertionError):
    """Something is not as the memory says."""


class Machine:
    """A service, a data folder, and what must be true of the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = played_settings(
            folder, USAGE_PIPELINE_START_DATE=str(FIRST_DAY), USAGE_PIPELINE_LOOKBACK_DAYS=str(LOOKBACK)
        )
        self.service = Service(_START)
        self.worlds = [World()]
        self.start = FIRST_DAY
        # What the published file said, and when: it must be able to say so later.
        self.told: list[tuple[datetime, View]] = []

    @property
    def today(self) -> date:
        """The service's day."""
        return self.service.now.date()

    @property
    def tomorrow(self) -> date:
        """The end of the last window there can be."""
        return self.today + timedelta(days=1)

    def pass_time(self, span: timedelta) -> None:
        """Let the clock go on."""
        self.service.now += span

    def ask_earlier(self) -> None:
        """Let scheduled runs begin two days earlier, before days that may long be settled."""
        self.start -= timedelta(days=2)
        self.settings = self.settings.model_copy(update={"start_date": self.start})

    # What can be done; damage and its healing are healing.py's

    def sync(
        self,
        names: Sequence[str],
        window: tuple[date, date] | None = None,
        *,
        faults: Sequence[Fault] = (),
        per_page: int = 2,
        kill_at: str | None = None,
    ) -> None:
        """Sync a window, or what is due; a killed one leaves old or new."""
        before = observed.files(self.folder)
        found = [self.reads(world, names, window) for world in self.worlds]
        self.service.plant(faults, per_page)
        try:
            with points.killing(kill_at) if kill_at else nullcontext():
                report = self.run(names, window)
        except points.Killed:
            self._after_a_kill(found, before)
            return
        self._agree(report)
        accepted = [[read for read in reads if read.endpoint not in self.service.failing] for reads in found]
        if not any(accepted):
            self._same(before)
        else:
            self.must(report.refresh_error is None, f"nothing was published: {report.refresh_error}")
            for world, reads in zip(self.worlds, accepted, strict=True):
                self.accept(world, reads)
        self.check()

    def race(self, name: str, window: tuple[date, date], at: str, meanwhile: Callable[[], None]) -> None:
        """Sync a window and let another run do its work at a point of the way; `meanwhile` begins later than this."""
        mine = self.reads(self.worlds[0], [name], window)
        self.service.plant((), 2)
        done: list[World] = []  # the worlds that already hold this run's read

        def interrupt() -> None:
            other = [world.copy() for world in self.worlds]
            for world in other:
                self.accept(world, mine, is_published=False)
            done.extend(other)
            self.worlds += other
            told = list(self.told)
            meanwhile()
            self.told = told  # this run took its time before the other one, and commits after it

        with points.at(at, interrupt):
            report = self.run([name], window)
        self._agree(report)
        self.must(report.refresh_error is None, f"nothing was published: {report.refresh_error}")
        for world in list(self.worlds):
            if any(world is one for one in done):
                world.publish()
                continue
            if at != "before storing":  # it had compared already; only a commit would have made it compare again
                blind = world.copy()
                for read in mine:
                    blind.accept(read, is_blind_to_checks=True)
                blind.publish()
                self.worlds.append(blind)
            self.accept(world, mine)
        self.check()

    def replay(self, kill_at: str | None = None, skip: int = 0) -> None:
        """Rebuild everything from raw; killed, the next replay ends it; where raw lost too much, nothing is changed."""
        if not any(path.name.endswith(".zst") for path in self.settings.raw_dir.rglob("*")):
            return
        before = observed.files(self.folder)
        try:
            try:
                with points.killing(kill_at, skip) if kill_at else nullcontext():
                    replay(self.settings)
            except points.Killed:
                replay(self.settings)
        except LakeDamaged as refusal:
            self.worlds = [world for world in self.worlds if world.forgets_by_replay()]
            self.must(bool(self.worlds), f"replay refused: {refusal}")
            self._same(before)
            return
        self.worlds = [world for world in self.worlds if not world.forgets_by_replay()]
        self.must(bool(self.worlds), "replay went on though raw lost a day")
        self.told.clear()  # what was never committed before may count now
        for world in self.worlds:
            world.replay()
            world.publish()
        self.check()

    def publish(self, kill_at: str | None = None) -> None:
        """Bring the published file up to date; killed, readers have the old one or the new one."""
        try:
            with points.killing(kill_at) if kill_at else nullcontext():
                refresh(self.settings)
        except points.Killed:
            self.worlds += [self.published(world) for world in self.worlds]
        else:
            for world in self.worlds:
                world.publish()
        self.check()

    def reopen(self) -> None:
        """Forget what a process keeps open."""
        engine._shared.cache_clear()  # what another process would not have
        self.check()

    def whole(self, *, is_from_scratch: bool) -> None:
        """Build every mart: allocated cost is the bill; and, where asked, all is as if built for the first time."""
        refresh(self.settings)
        for world in self.worlds:
            world.publish()
        self.check()
        wrong = observed.money_differs(self.settings.warehouse_path)
        self.must(not wrong, f"allocated cost is not the bill: {wrong[:3]}")
        if is_from_scratch:
            held = observed.all_marts(self.settings.warehouse_path)
            other = played_settings(self.folder.with_name("scratch"))
            shutil.rmtree(other.data_dir, ignore_errors=True)
            shutil.copytree(self.settings.lake_dir, other.lake_dir)
            for made in ("marts", "meta/mart_log"):
                if (other.lake_dir / made).exists():  # not where nothing was ever synced
                    shutil.rmtree(other.lake_dir / made)
            refresh(other)
            anew = observed.all_marts(other.warehouse_path)
            shutil.rmtree(other.data_dir)
            differing = [name for name in held if held[name] != anew.get(name)]
            self.must(held == anew, f"marts differ from those made from scratch: {differing}")

    # What must hold

    def check(self) -> None:
        """The published file says exactly what one of the possible worlds says; the others are dismissed."""
        seen = observed.published(self.settings.warehouse_path)
        fitting = [world for world in self.worlds if agrees(world, seen)]
        if not fitting:
            raise Wrong("the published file is not what was served\n" + difference(self.worlds[0], seen))
        self.worlds = fitting
        if seen is not None:
            self._look_back(seen)

    def _look_back(self, seen: View) -> None:
        """One of the moments before is still told as it was; this one is remembered, where all that is stored shows."""
        if self.told:
            at, held = self.told[len(self.told) * 2 // 3]
            found = observed.as_of(self.settings.warehouse_path, at)
            self.must(found == held, f"as of {at} it is not what was said: {found} instead of {held}")
        if all(world.restated is not None and world.shown == world.view() for world in self.worlds):
            self.told.append((utc_now(), {name: rows for name, rows in seen.items() if name.startswith("usage.")}))

    def must(self, holds: bool, otherwise: str) -> None:
        """Go no further where something does not hold."""
        if not holds:
            raise Wrong(otherwise)

    def _agree(self, report: SyncReport) -> None:
        """The endpoints that failed are those whose read met a fatal fault."""
        said = {one.endpoint: str(one.error) for one in report.failed}
        self.must(said.keys() == self.service.failing, f"failed: {said}, expected: {self.service.failing}")

    def _same(self, before: dict[str, tuple[int, int]]) -> None:
        now = observed.files(self.folder)
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        self.must(not changed, f"a failed run changed files: {changed[:5]}")

    # How it is done

    def run(self, names: Sequence[str], window: tuple[date, date] | None) -> SyncReport:
        """Sync a window, or what is due, of the service as it is."""
        asked = Window.of_days(*window) if window else None
        return sync(
            self.settings,
            choose_endpoints(names),
            asked,
            clock=lambda: self.service.now,
            client_factory=self.service.client,
        )

    def reads(self, world: World, names: Sequence[str], window: tuple[date, date] | None) -> list[Read]:
        """What the run will be served, in that world."""
        reads = []
        for name in names:
            for first, asked in [window] if window else world.due(name, self.start, self.today, LOOKBACK):
                end = min(asked, self.today + timedelta(days=1))
                texts = self.service.truth.served(name, first, end)
                reads.append(Read(name, first, end, self.service.now, texts))
        return reads

    def accept(self, world: World, reads: Iterable[Read], *, is_published: bool = True) -> None:
        """These reads are in, in that world."""
        for read in reads:
            world.accept(read)
        if is_published:
            world.publish()

    def published(self, world: World) -> World:
        """That world when all it knows is shown."""
        other = world.copy()
        other.publish()
        return other

    def _after_a_kill(self, found: Sequence[list[Read]], before: dict[str, tuple[int, int]]) -> None:
        """Some of each endpoint's reads are in; what was landed and not committed is an orphan.

        Not just the first ones: a read that changed no table is known to the log alone, which is written at the end.
        """
        landed = {name for name in observed.files(self.folder).keys() - before.keys() if name.startswith("raw/")}
        worlds = []
        for world, reads in zip(self.worlds, found, strict=True):
            candidates = [world]
            for name in ENDPOINTS:
                mine = [read for read in reads if read.endpoint == name and name not in self.service.failing]
                kept = [
                    set(chosen) for count in range(len(mine) + 1) for chosen in combinations(range(len(mine)), count)
                ]
                candidates = [_kept(one, mine, places, landed) for one in candidates for places in kept]
            worlds += [*candidates, *map(self.published, candidates)]
        self.worlds = worlds
        self.check()
        for name in ENDPOINTS:
            held = observed.in_lake(self.settings.lake_dir / "usage" / name, name)
            possible = [world.view()[f"usage.{name}"] for world in self.worlds]
            self.must(held in possible, f"usage.{name} is neither old nor new: {held}")


def _kept(world: World, reads: list[Read], places: set[int], landed: set[str]) -> World:
    other = world.copy()
    for place, read in enumerate(reads):
        if place in places:
            other.accept(read)
            continue
        if any(map(read.is_in, landed)):
            other.orphans.append(read)
    return other
