"""What a whole process cost: wall time, CPU seconds and peak memory, its children included.

Put measuring of processes here; which processes is contenders.py's.
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Seconds of wall clock and of CPU (user and system), and the most memory resident at once, in MiB."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float

    def as_dict(self) -> dict[str, float]:
        """The figures, rounded to what they are worth."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def cost_of(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Cost:
    """Run a command to its end.

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
    return Cost(wall_seconds=wall, cpu_seconds=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss / 1024)
