"""Three hundred cases of the oracle: whatever happens, what is published is what was served, after every step."""

import pytest

from usage_pipeline_tests.oracle import points
from usage_pipeline_tests.oracle.history import STEPS, Step, history, play, shrink
from usage_pipeline_tests.oracle.machine import Machine, Wrong

CASES = 300


@pytest.mark.parametrize("seed", range(CASES // STEPS))
def test_after_every_step_all_is_as_served(seed: int) -> None:
    """No step of a random history leaves anything published, stored or logged that was not served."""
    failure = play(history(seed))
    assert failure is None, f"\n{failure}"


def test_a_seed_is_always_the_same_history() -> None:
    """What failed can be played again from its seed."""
    assert history(7) == history(7)
    assert history(7) != history(8)


def test_a_failure_is_told_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that goes wrong becomes the few steps that matter, with what they did."""

    def wrong(_machine: Machine) -> None:
        raise Wrong("not as served")

    monkeypatch.setattr(Machine, "check", wrong)
    failure = play((Step("sync", 1), Step("reopen", 2), Step("sync", 3)))
    assert failure is not None
    assert failure.problem == "not as served"
    assert len(failure.story) == 1
    idle = tuple(Step("damage", n) for n in range(6))  # nothing is there to damage
    failure = play((*idle, Step("reopen", 2)))
    assert failure is not None
    assert shrink(failure).steps == (Step("reopen", 2),)


@pytest.mark.parametrize("name", points.POINTS)
def test_every_named_point_is_a_function_of_the_pipeline(name: str) -> None:
    """A step that was renamed does not leave the oracle in silence."""
    with points.at(name, lambda: None):
        pass
