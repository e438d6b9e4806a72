"""What something cost: wall time, CPU seconds and peak memory, of a whole process or of a part of this one.

Put measuring here; which processes is contenders.py's, how figures are shown is table.py's.
"""

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Seconds of wall clock and of CPU (user and system), and the most memory resident at once, in MiB."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float

    def columns(self) -> dict[str, float]:
        """The figures as columns of a table, rounded to what they are worth."""
        return {"wall s": round(self.wall_seconds, 3), "CPU s": round(self.cpu_seconds, 3), "peak MiB": self.peak_mib}

    def times(self, other: "Cost") -> dict[str, float]:
        """How many times another's it is, as columns."""
        wall, cpu = self.wall_seconds / other.wall_seconds, self.cpu_seconds / other.cpu_seconds
        return {"wall ratio": round(wall, 2), "CPU ratio": round(cpu, 2)}


def cost_of(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Cost:
    """Run a command to its end; the costs are those of its children too.

    Raises:
        RuntimeError: it failed; the text is the end of what it said.
    """
    said = cwd / "said.txt"
    with said.open("wb") as out:
        began = time.monotonic()
        child = subprocess.Popen(command, env=dict(env), cwd=cwd, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)  # of the child and all its children that ended
        wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command[:4]} ended with {child.returncode}: {said.read_text()[-2000:]}")
    return Cost(wall_seconds=wall, cpu_seconds=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss // 1024)


def least_of(costs: Sequence[Cost]) -> Cost:
    """The least of several runs, each figure by itself: on a shared machine the others are somebody else's work."""
    return Cost(
        wall_seconds=min(one.wall_seconds for one in costs),
        cpu_seconds=min(one.cpu_seconds for one in costs),
        peak_mib=max(one.peak_mib for one in costs),
    )


class Laps:
    """What the parts of this process's work cost, each until the next begins; `tell` is given to what tells its parts.

    Peak memory is that of the process so far.
    """

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self._part: str | None = None
        self._wall = self._cpu = 0.0

    def tell(self, part: str, _done: int = 0, _of: int = 0) -> None:
        """A part goes on, or begins and ends the one before it."""
        if part != self._part:
            self.end()
            self._part, self._wall, self._cpu = part, time.monotonic(), time.process_time()

    def end(self) -> None:
        """The part that was under way ended."""
        if self._part is not None:
            self.costs[self._part] = Cost(
                wall_seconds=time.monotonic() - self._wall,
                cpu_seconds=time.process_time() - self._cpu,
                peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            )
            self._part = None
