"""The grouping ladder: which dimensions to give up, and where, when the service refuses a grouping.

Put the choice here, as functions of values; sending requests is client.py's, reading refusals error_answers.py's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import GroupingRefused
from usage_pipeline.windows import DAY_SECONDS, Window, utc_moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A window to read with one grouping; `notes` say in plain sentences what was given up and why."""

    window: Window
    group_by: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def without(self, dimension: str, note: str) -> "Segment":
        """The segment with one dimension given up."""
        kept = tuple(name for name in self.group_by if name != dimension)
        return replace(self, group_by=kept, notes=(*self.notes, note))

    def since(self, first: datetime) -> "Segment":
        """The segment without the days before `first`, which the service no longer keeps."""
        note = f"{self.window}: days before {first:%Y-%m-%d} are older than the service keeps; what is stored stays."
        return replace(self, window=Window(first, self.window.end), notes=(*self.notes, note))


def floor_day(refusal: GroupingRefused) -> int | None:
    """The floor a refusal names, rounded up to a whole UTC day (unix s); None where it names none."""
    return None if refusal.floor is None else -(-refusal.floor // DAY_SECONDS) * DAY_SECONDS


def split_at_floors(segment: Segment, floors: Mapping[str, int]) -> list[Segment]:
    """The segment cut where a dimension becomes available; before its floor the dimension is given up.

    Args:
        segment: What to read.
        floors: Dimension -> unix s of the first day it can be grouped by.
    """
    segments = [segment]
    for dimension, floor in floors.items():
        segments = [part for whole in segments for part in _split(whole, dimension, floor)]
    return segments


def relent(endpoint: Endpoint, segment: Segment, refusal: GroupingRefused) -> list[Segment]:
    """What to read instead of a refused segment: less, by one dimension, in at least a part of it.

    Raises:
        GroupingRefused: nothing that may be given up is left.
    """
    floor = floor_day(refusal)
    if floor is not None and refusal.dimension is not None:
        parts = _split(segment, refusal.dimension, floor)
        if parts != [segment]:
            return parts
    candidates = [name for name in endpoint.droppable if name in segment.group_by]
    if not candidates:
        raise refusal
    # The named dimension where it may go; a refused combination names both or, worse, only the more useful one.
    dropped = refusal.dimension if refusal.dimension in candidates else candidates[0]
    note = f"{endpoint.name} {segment.window}: not grouped by {dropped}, because the service refused: {refusal}"
    return [segment.without(dropped, note)]


def _split(segment: Segment, dimension: str, floor: int) -> list[Segment]:
    """The parts before and after the floor; the segment itself where the floor does not touch it."""
    window = segment.window
    if dimension not in segment.group_by or floor <= window.start_time:
        return [segment]
    day = f"{utc_moment(floor):%Y-%m-%d}"
    note = f"{window}: not grouped by {dimension} before {day}, because the service has it only from then on."
    if floor >= window.end_time:
        return [segment.without(dimension, note)]
    at = utc_moment(floor)
    return [
        replace(segment, window=Window(window.start, at)).without(dimension, note),
        replace(segment, window=Window(at, window.end)),
    ]
