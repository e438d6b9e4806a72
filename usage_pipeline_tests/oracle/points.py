"""The named steps of the write path, where a run can be killed or another one come between; and the small machinery.

Put a new step of the pipeline into POINTS: one line. Put what the oracle leaves out to be fast into `small`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

from usage_pipeline import plan, verify, warehouse
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake import snapshot
from usage_pipeline.marts import fingerprints
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.oracle import truth

SMALL_MARTS = ("cost_daily", "cost_daily_by_project", "usage_daily")


class Killed(BaseException):
    """What a killed process looks like from inside: nobody handles it."""


@dataclass(frozen=True)
class Point:
    """A moment before or after a call: where the function is, and of which table it must be (by folder name)."""

    where: str
    function: str
    is_after: bool = False
    table: str = ""

    def fits(self, arguments: tuple[Any, ...]) -> bool:
        """Whether this call is meant."""
        return not self.table or self.table in getattr(arguments[0], "path", Path()).parts


_REPLACE, _TABLE = "usage_pipeline.lake.replace", "usage_pipeline.lake.delta_table:LakeTable"
_BUILDER, _REPLAY = "usage_pipeline.marts.build:_Builder", "usage_pipeline.replay"

# One endpoint's way into the lake: another run may come between here.
STORING = {
    "before storing": Point("usage_pipeline.endpoint_sync", "replace_window"),
    "before landing": Point("usage_pipeline.endpoint_sync", "land"),
    "after landing": Point("usage_pipeline.endpoint_sync", "land", is_after=True),
    "after comparing": Point(_REPLACE, "compare", is_after=True),
    "after the restatements": Point(_TABLE, "append", is_after=True, table="restatements"),
    "before the commit": Point(_TABLE, "replace", table="usage"),
    "after the commit": Point(_TABLE, "replace", is_after=True, table="usage"),
    "before the log rows": Point("usage_pipeline.sync", "logged"),
    "after the log rows": Point("usage_pipeline.sync", "logged", is_after=True),
}
PUBLISHING = {
    "before the first mart": Point(_BUILDER, "rebuild"),
    "after the first mart": Point(_BUILDER, "rebuild", is_after=True),
    "before the marts are remembered": Point("usage_pipeline.marts.build", "remember"),
    "after the marts are remembered": Point("usage_pipeline.marts.build", "remember", is_after=True),
    "before publishing": Point("usage_pipeline.warehouse", "publish"),
    "before the rename": Point("usage_pipeline.lake.catalog", "sync_to_disk", is_after=True),
    "after publishing": Point("usage_pipeline.warehouse", "publish", is_after=True),
}
RECOVERING = {"before recovering a log row": Point("usage_pipeline.lake.ledger:CoverageLog", "complete")}
REPLAYING = {
    "before adopting": Point(_REPLAY, "_adopt"),
    "between two adoptions": Point(_TABLE, "renew", is_after=True),
    "after adopting": Point(_REPLAY, "_adopt", is_after=True),
}
POINTS = STORING | PUBLISHING | RECOVERING | REPLAYING


@contextmanager
def at(name: str, do: Callable[[], None], *, skip: int = 0) -> Iterator[None]:
    """Call `do` once, when the point is reached (for the first time after `skip` others)."""
    point = POINTS[name]
    module, _, owner = point.where.partition(":")
    place = getattr(import_module(module), owner) if owner else import_module(module)
    real = getattr(place, point.function)
    left = [skip]

    def reached(arguments: tuple[Any, ...]) -> None:
        if point.fits(arguments):
            left[0] -= 1
            if left[0] == -1:
                do()

    def stepped(*arguments: Any, **named: Any) -> Any:
        if not point.is_after:
            reached(arguments)
        result = real(*arguments, **named)
        if point.is_after:
            reached(arguments)
        return result

    with patch.object(place, point.function, stepped):
        yield


@contextmanager
def killing(name: str, skip: int = 0) -> Iterator[None]:
    """Kill the run at the point: from then on nothing is tidied up, as nothing would be."""
    is_dead = False
    real = Path.unlink

    def die() -> None:
        nonlocal is_dead
        is_dead = True
        raise Killed(name)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if not is_dead:
            real(path, missing_ok=missing_ok)

    with patch.object(Path, "unlink", unlink), at(name, die, skip=skip):
        yield


class _NoDims:
    """Stands for dimensions where no mart reads any."""

    def __init__(self, _snapshot: object) -> None:
        self.whole: dict[str, str] = {}


@contextmanager
def small() -> Iterator[None]:
    """Two endpoints, three marts, no dimensions: what a step costs is then mostly the write path itself."""
    endpoints = {name: ENDPOINTS[name] for name in truth.ENDPOINTS}
    with ExitStack() as stack:
        stack.enter_context(only_marts(*SMALL_MARTS))
        stack.enter_context(patch.object(warehouse, "view_relations", list))
        stack.enter_context(patch.dict(ENDPOINTS, endpoints, clear=True))
        stack.enter_context(patch.object(snapshot, "DIMS", {}))
        stack.enter_context(patch.object(fingerprints, "DimContents", _NoDims))
        stack.enter_context(patch.object(warehouse, "load_inputs", lambda *_: None))
        # What is due follows from the configured lookback alone, so that the oracle can tell it by itself: what is
        # learned, and the weekly deep re-read, are unit/test_settling.py's.
        stack.enter_context(patch.object(plan, "observed_settling", lambda *_: {}))
        stack.enter_context(patch.object(plan, "_DEEP_EVERY", timedelta.max))
        stack.enter_context(patch.object(verify, "_PAUSE_SECONDS", 0))  # no writer is at work that would go on
        yield
