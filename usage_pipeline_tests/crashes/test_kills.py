"""SIGKILL at any moment leaves the old or the new, and the next run puts everything right by itself.

The kills are of small runs; `python -m usage_pipeline_tests.crashes` kills whole ones, as many as wanted.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from usage_pipeline_tests.crashes.stage import Stage
from usage_pipeline_tests.oracle.points import PUBLISHING, REPLAYING, STORING


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A folder that was synced yesterday."""
    with Stage(tmp_path_factory.mktemp("later"), "later", is_small=True) as stage:
        yield stage


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A folder that is up to date, and is replayed."""
    with Stage(tmp_path_factory.mktemp("replayed"), "replay", is_small=True) as stage:
        yield stage


def _kill(stage: Stage, counts: Sequence[int]) -> None:
    """In cases of so many kills each, one upon the other, before a run may go to its end."""
    rng = random.Random(7)
    for count in counts:
        stage.case([rng.uniform(0, 1.05) for _ in range(count)], is_watched=count == 1)


def test_killed_at_random_moments(later: Stage) -> None:
    """Each table is old or new, a reader never sees half, and the next run is as good as one after no kill at all."""
    _kill(later, (1, 5, 6))


def test_the_first_sync_killed_at_random_moments(tmp_path: Path) -> None:
    """Where nothing was, there is nothing or all of it, and the next run is as good as a first."""
    with Stage(tmp_path, "first", is_small=True) as stage:
        _kill(stage, (4,))


def test_a_replay_killed_at_random_moments(replayed: Stage) -> None:
    """Nobody sees anything of a replay that dies, and the next sync needs no other replay."""
    _kill(replayed, (4,))


def test_killed_at_each_step_of_writing_and_publishing(later: Stage) -> None:
    """At every named step a run can die, and the run after it while publishing; the third one puts it right."""
    then = {"after the commit": "before recovering a log row"}
    publishing = cycle(PUBLISHING)
    for point in STORING:
        later.case([point, then.get(point) or next(publishing)])
    assert later.states["published old"] > later.states["published new"] > 0
    assert min(later.states["lake old"], later.states["lake new"]) > 0


def test_a_replay_killed_at_each_step(replayed: Stage) -> None:
    """Of a replay that dies while it adopts, or before or after, nothing is left for the next sync to stumble over."""
    replayed.case(list(REPLAYING))
    assert replayed.left["workshop"] > 0
