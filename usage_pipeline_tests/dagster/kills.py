"""`python -m usage_pipeline_tests.dagster.kills`: the real UI, daemon and schedule, killed in several ways.

Put a new way here: a function that kills, and checks what must hold afterwards. It measures how long the shipped
dagster.yaml takes to free what was killed; exit 1 where a way does not end well. It takes minutes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.windows import Window
from usage_pipeline_tests.dagster.minutely import TICK
from usage_pipeline_tests.dagster.stage import Stage, recent, staged
from usage_pipeline_tests.dagster.ui_driver import ASSETS, Ui, serving, until
from usage_pipeline_tests.year.judge import checked, differing

DEFINITIONS = "usage_pipeline_tests.dagster.minutely"
FREE_SECONDS = 300  # until the next scheduled run must have ended
_HELD_SECONDS = 45.0  # less than the client waits for an answer: a run that survives goes on
_DAYS = 8  # as many as a daily run reads
_UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")


@dataclass
class Scene:
    """A stage in a folder of its own, and the seconds that were measured on it."""

    stage: Stage
    folder: Path
    measured: dict[str, float] = field(default_factory=dict)

    def hold(self) -> None:
        """Let answers wait: runs stay in their middle."""
        self.stage.gate.delay_seconds = _HELD_SECONDS
        self.stage.gate.seen.clear()

    def release(self) -> None:
        """Let answers come at once, save those that wait already."""
        self.stage.gate.delay_seconds = 0.0

    def tick(self) -> None:
        """Ask for a run at the schedule's next minute."""
        (self.stage.settings.data_dir / TICK).touch()

    def until_in_its_middle(self, child: "subprocess.Popen[bytes]") -> None:
        """Wait until a run waits for its answers."""
        until(lambda: len(self.stage.gate.seen) >= 8, 180, child)

    def worker(self) -> int:
        """The process of the one run under way, by the lock it holds."""
        (lock,) = (self.stage.settings.data_dir / "dagster" / "working").iterdir()
        return int(lock.name.split(".")[1])

    def measure(self, what: str, probe: Callable[[], Any], child: "subprocess.Popen[bytes]", since: float) -> None:
        """Wait for something and note how many seconds after a moment it came."""
        until(probe, FREE_SECONDS, child)
        self.measured[what] = time.monotonic() - since

    def logs(self) -> str:
        """What the daemon said last."""
        log = self.stage.settings.data_dir / "dagster" / "service-logs" / "daemon.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-30:])

    def check_data(self, window: Window) -> None:
        """Every day of every endpoint is what the service says, and no other is there."""
        pairs = {(name, day) for name in ENDPOINTS for day in window.dates()}
        known = checked(self.stage.settings).keys()
        assert known == pairs, f"{len(known ^ pairs)} days are missing or too many"
        world = self.stage.world
        wrong = differing(self.stage.settings, world.organization, world.clock, dict.fromkeys(pairs, world.clock()))
        assert wrong == []


def kill_the_worker(scene: Scene) -> None:
    """A run's process is killed: the run fails, begins again by itself, and the next scheduled run ends well."""
    with serving(scene.stage.settings, scene.folder, DEFINITIONS) as (ui, child):
        killed = _scheduled_in_its_middle(scene, ui, child)
        os.kill(scene.worker(), signal.SIGKILL)
        _recovers(scene, ui, child, killed, time.monotonic())


def kill_the_whole_stack(scene: Scene) -> None:
    """Command, webserver, daemon, code servers and run are killed at once; begun again, all comes right by itself."""
    with serving(scene.stage.settings, scene.folder, DEFINITIONS) as (ui, child):
        killed = _scheduled_in_its_middle(scene, ui, child)
        _kill(_descendants(child.pid))
        child.wait()
    begun_again = time.monotonic()
    with serving(scene.stage.settings, scene.folder, DEFINITIONS) as (ui, child):
        _recovers(scene, ui, child, killed, begun_again)


def kill_the_services_in_a_backfill(scene: Scene) -> None:
    """Webserver, daemon and code servers are killed: the backfill's run ends its work, and the backfill goes on."""
    _backfill_survives(scene, lambda child: _descendants(child.pid) - {child.pid, scene.worker()})


def kill_the_whole_stack_in_a_backfill(scene: Scene) -> None:
    """All is killed while a backfill runs: its run begins again, and no partition is shown without its data."""
    _backfill_survives(scene, lambda child: _descendants(child.pid))


def two_runs_at_once(scene: Scene) -> None:
    """Two runs over the same partitions, launched together and reading at the same time, both end well."""
    window = recent(_DAYS)
    with serving(scene.stage.settings, scene.folder, DEFINITIONS) as (ui, child):
        scene.hold()
        began = time.monotonic()
        runs = [ui.launch(window), ui.launch(window)]
        until(lambda: scene.stage.gate.under_way >= 16, 180, child)
        scene.release()
        scene.measure("both ended", lambda: all(_status(ui, run) not in _UNFINISHED for run in runs), child, began)
        assert [_status(ui, run) for run in runs] == ["SUCCESS", "SUCCESS"]
        times = {run["runId"]: run for run in ui.runs()}
        assert max(times[run]["startTime"] for run in runs) < min(times[run]["endTime"] for run in runs)
        scene.check_data(window)


WAYS = {
    way.__name__: way
    for way in (
        kill_the_worker,
        kill_the_whole_stack,
        kill_the_services_in_a_backfill,
        kill_the_whole_stack_in_a_backfill,
        two_runs_at_once,
    )
}


def _scheduled_in_its_middle(scene: Scene, ui: Ui, child: "subprocess.Popen[bytes]") -> str:
    """The id of a run that the schedule began and that waits for its answers."""
    scene.hold()
    scene.tick()
    scene.until_in_its_middle(child)
    (run,) = ui.runs()
    assert {tag["key"]: tag["value"] for tag in run["tags"]}["dagster/schedule_name"] == "next_minute"
    return str(run["runId"])


def _recovers(scene: Scene, ui: Ui, child: "subprocess.Popen[bytes]", killed: str, since: float) -> None:
    """The killed run is told to have failed, its retry and the next scheduled run end well, the data is right."""
    scene.release()
    scene.tick()
    scene.measure("killed run is FAILURE", lambda: _status(ui, killed) == "FAILURE", child, since)
    scene.measure("its retry succeeded", lambda: _succeeded(ui, killed, is_retry=True), child, since)
    scene.measure("next scheduled run succeeded", lambda: _succeeded(ui, killed, is_retry=False), child, since)
    assert [run["status"] for run in ui.runs()] == ["SUCCESS", "SUCCESS", "FAILURE"]
    scene.check_data(recent(_DAYS))


def _backfill_survives(scene: Scene, victims: Callable[["subprocess.Popen[bytes]"], set[int]]) -> None:
    window = recent(_DAYS)
    days = [day.isoformat() for day in window.dates()]
    with serving(scene.stage.settings, scene.folder, DEFINITIONS) as (ui, child):
        scene.hold()
        backfill = ui.backfill(days)
        scene.until_in_its_middle(child)
        _kill(victims(child))
        child.wait(60)
    scene.release()
    since = time.monotonic()
    with serving(scene.stage.settings, scene.folder, DEFINITIONS) as (ui, child):
        scene.measure("backfill ended", lambda: ui.backfill_status(backfill).startswith("COMPLETED"), child, since)
        assert ui.backfill_status(backfill) == "COMPLETED_SUCCESS"
        for asset in ASSETS:
            assert ui.spans(asset) == [{"startKey": days[0], "endKey": days[-1], "status": "MATERIALIZED"}], asset
        scene.check_data(window)


def _status(ui: Ui, run: str) -> str:
    return next(str(one["status"]) for one in ui.runs() if one["runId"] == run)


def _succeeded(ui: Ui, killed: str, *, is_retry: bool) -> bool:
    """Whether the retry of the killed run, or a run that is none, has succeeded."""
    others = [one for one in ui.runs() if one["runId"] != killed and one["status"] == "SUCCESS"]
    return any(("dagster/parent_run_id" in {tag["key"] for tag in one["tags"]}) == is_retry for one in others)


def _descendants(pid: int) -> set[int]:
    """A process and all that descend from it, whatever sessions they made for themselves."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _kill(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def main() -> int:
    """Go through the ways asked for, each in a folder of its own."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.dagster.kills", description=__doc__)
    parser.add_argument("--way", action="append", choices=WAYS, help="only this way (may be repeated)")
    for name in parser.parse_args().way or WAYS:
        start = {"USAGE_PIPELINE_START_DATE": recent(_DAYS).start.date().isoformat()}
        with TemporaryDirectory(prefix="kills-") as folder, staged(Path(folder) / "data", **start) as stage:
            scene = Scene(stage, Path(folder))
            try:
                WAYS[name](scene)
            except (AssertionError, subprocess.TimeoutExpired) as wrong:
                print(f"{name} failed: {wrong}; {scene.measured}\n{scene.logs()}")  # noqa: T201 - its answer
                return 1
            measured = ", ".join(f"{what} after {seconds:.0f} s" for what, seconds in scene.measured.items())
            print(f"{name}: {measured}", flush=True)  # noqa: T201 - its answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
