"""A service, a data folder before and after a sync that was never killed, and the same sync killed.

Put what is prepared and what must hold after a kill here; which kills there are is __main__.py's and the tests'.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.locks import WAREHOUSE_LOCK
from usage_pipeline.verify import verify
from usage_pipeline.windows import Window
from usage_pipeline_tests.crashes import works
from usage_pipeline_tests.crashes.seen import held, leftovers, seen, served
from usage_pipeline_tests.crashes.warm import started
from usage_pipeline_tests.oracle.truth import ENDPOINTS as SMALL_ENDPOINTS
from usage_pipeline_tests.world import World, open_world

Kind = Literal["first", "later", "replay"]
Fall = Literal["reading", "writing", "publishing", "after"]
Moment = float | str  # a share of the whole run's length, or the name of a point
START = "2026-11-13"
EARLIER = datetime(2026, 11, 18, 9, tzinfo=UTC)
LATER = EARLIER + timedelta(days=1, hours=7)
_OLD_SECONDS = 2 * 86400


class Wrong(AssertionError):
    """After a kill something is neither old nor new, or the next run did not put it right."""


class Stage:
    """One data folder that is put back to its beginning before each case; use it in a `with` block.

    `first`: nothing is there yet. `later`: a sync of yesterday is, and since then days were added and restated.
    `replay`: all is up to date, and a replay is what is killed.
    """

    def __init__(self, folder: Path, kind: Kind, *, seed: int = 7, is_small: bool) -> None:
        self.kind = kind
        self.is_small = is_small
        self.names = SMALL_ENDPOINTS if is_small else tuple(ENDPOINTS)
        self.data_dir = folder / "data"
        self._saved = folder / "saved"
        self._seed = seed
        self._stack = ExitStack()
        self._runs = 0
        self.falls: Counter[Fall] = Counter()
        self.states: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.reads = self.torn = 0

    def __enter__(self) -> "Stage":
        world = self._stack.enter_context(open_world(self._seed, EARLIER))
        try:
            self._prepare(world)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _prepare(self, world: World) -> None:
        settings = world.settings(self.data_dir, USAGE_PIPELINE_START_DATE=START)
        self.run = works.Run(settings=settings, now=LATER, is_small=self.is_small)
        if self.kind != "first":
            self._do(replace(self.run, now=EARLIER))
        world.clock.set(LATER)
        if self.kind == "replay":
            self._do(self.run)
        self.data_dir.mkdir(exist_ok=True)
        shutil.copytree(self.data_dir, self._saved)
        self.old = seen(self.data_dir)
        self.killed = replace(self.run, kind="replay" if self.kind == "replay" else "sync")
        self.seconds = self._do(self.killed)
        self.new = seen(self.data_dir)
        self._must(self.kind == "replay" or self.old != self.new, "the sync changes nothing")
        window = Window.of_days(datetime.fromisoformat(START).date(), LATER.date() + timedelta(days=1))
        truth = served(settings.base_url, self.names, window)
        self._must(held(settings.warehouse_path, self.names) == truth, "a sync nobody killed is not what was served")

    def restore(self) -> None:
        """Put the folder back to its beginning."""
        shutil.rmtree(self.data_dir)
        shutil.copytree(self._saved, self.data_dir)

    def next(self, run: works.Run) -> works.Run:
        """The run a second after the one before; what the service says stands still."""
        self._runs += 1
        return replace(run, now=run.now + timedelta(seconds=self._runs))

    def case(self, moments: Sequence[Moment], *, is_watched: bool = False, is_thorough: bool = False) -> Fall:
        """From the beginning: kill a run at each of the moments, check what is left, let the next run end it.

        Args:
            moments: when the run, and then each next one, is killed.
            is_watched: let another process read the published file meanwhile.
            is_thorough: compare every day and mart with a recompute afterwards, too.

        Returns:
            Where the first kill fell.
        """
        self.restore()
        first = self._kill(self.killed, moments[0], is_watched=is_watched)
        for moment in moments[1:]:
            self._kill(self.killed, moment, is_watched=is_watched)
        self.grow_old()
        self.heal(is_thorough=is_thorough)
        return first

    def heal(self, *, is_thorough: bool = False) -> None:
        """Let one ordinary sync of a new process put everything right."""
        self._do(self.run)
        self.check_new(is_thorough=is_thorough)
        self._must(not leftovers(self.data_dir), f"the next run leaves behind {leftovers(self.data_dir)}")

    def check_new(self, *, is_thorough: bool = False) -> None:
        """Everything is as a sync leaves it that nothing disturbed, and as its seals say."""
        now = seen(self.data_dir)
        new, held = self.new.published or {}, now.published or {}
        wrong = sorted(name for name in new.keys() | held.keys() if held.get(name) != new.get(name))
        self._must(not wrong, f"published unlike by a run that nothing disturbed: {wrong}")
        self._must(now.lake == self.new.lake, "the lake is not as after a run that nothing disturbed")
        report = verify(self.run.settings, is_quick=not is_thorough)
        self._must(not report.findings, f"verify finds {report.findings}")

    def _kill(self, run: works.Run, moment: Moment, *, is_watched: bool) -> Fall:
        before = self._files()
        published = self._published_as()
        with started(works.read, str(self.run.settings.warehouse_path)) if is_watched else nullcontext() as reader:
            run = self.next(replace(run, die_at=moment if isinstance(moment, str) else None))
            with started(works.run, run) as child:
                code = child.wait() if isinstance(moment, str) else child.kill_after(moment * self.seconds)
            if reader is not None:
                reader.talk.send("stop")
                reads, torn = reader.talk.recv()
                self.reads += reads
                self.torn += torn
                self._must(not torn, f"{torn} of {reads} reads saw half a run")
        self._must(code == -9 or (code == 0 and not isinstance(moment, str)), f"exit code {code} at {moment}")
        lock = self.data_dir / WAREHOUSE_LOCK
        fall: Fall = "reading"
        if code == 0 or self._published_as() != published:
            fall = "after"
        elif lock.exists() and lock.read_text() == str(child.pid):
            fall = "publishing"
        elif self._files() != before:
            fall = "writing"
        self.falls[fall] += 1
        self.check_old_or_new()
        return fall

    def check_old_or_new(self) -> None:
        """Everything is as before the sync, or as after it."""
        now = seen(self.data_dir)
        self._must(now.published in (self.old.published, self.new.published), "published is neither old nor new")
        self.states["published " + ("new" if now.published == self.new.published else "old")] += 1
        for name in self.names:
            old, new, here = (one.lake.get(name, {}) for one in (self.old, self.new, now))
            self._must(here in (old, new), f"usage.{name} in the lake is neither old nor new")
            self.states["lake " + ("same" if old == new else "new" if here == new else "old")] += 1

    def grow_old(self) -> None:
        """Let the folder be two days older, and remember what the killed runs left in it."""
        self.left += leftovers(self.data_dir)
        moment = time.time() - _OLD_SECONDS
        for path in self.data_dir.rglob("*"):
            os.utime(path, (moment, moment))

    def _do(self, run: works.Run) -> float:
        """A run of a process of its own, and how long it took."""
        with started(works.run, self.next(run)) as child:
            began = time.monotonic()
            code = child.wait()
            self._must(code == 0, f"a run that nobody killed ended with {code}")
            return time.monotonic() - began

    def _files(self) -> set[Path]:
        return {path for path in self.data_dir.rglob("*") if path.is_file() and not path.name.endswith(".lock")}

    def _published_as(self) -> tuple[int, int] | None:
        path = self.run.settings.warehouse_path
        return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Wrong(otherwise)
