"""The planted bugs can still be planted; whether the oracle catches them is the full run's matter (README, Tests)."""

import pytest

from usage_pipeline_tests.oracle.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_applies(mutant: Mutant) -> None:
    """The text a mutant replaces is in the package exactly once."""
    assert mutant.applies()
    assert mutant.old != mutant.new


def test_there_are_mutants_enough() -> None:
    """Twenty at least, each with a name of its own."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
