"""Which kills there are: stages by seed with the moments of their cases, and what came of them.

Put the choice of moments and the counting here; what must hold after a kill is stage.py's.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from usage_pipeline_tests.crashes.stage import Kind, Moment, Stage
from usage_pipeline_tests.oracle.points import PUBLISHING, REPLAYING, STORING

_CASES = 10  # of one stage: preparing it costs as much as two
_KINDS: tuple[Kind, ...] = ("later", "later", "first", "later", "replay")
_THOROUGH = 10  # of so many cases one is compared with a recompute, too

Cases = list[tuple[str, list[Moment]]]


@dataclass
class Tally:
    """What came of the cases of one or more stages."""

    kills: int = 0
    cases: int = 0
    reads: int = 0
    torn: int = 0
    falls: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count another's, too."""
        self.kills += other.kills
        self.cases += other.cases
        self.reads += other.reads
        self.torn += other.torn
        self.falls += other.falls
        self.states += other.states
        self.left += other.left
        self.failures += other.failures


def random_cases(kills: int, seed: int) -> Iterator[tuple[Kind, int, Cases]]:
    """Stages with the moments of their cases: most kill the run that should put things right once or twice more."""
    number = 0
    while kills > 0:
        rng = random.Random(seed)  # a stage can be played again by its seed
        cases: Cases = []
        for case in range(_CASES):
            count = min(kills, 1 + case % 3)
            if count:
                cases.append((f"--seed {seed}, case {case}", [rng.uniform(0, 1.05) for _ in range(count)]))
            kills -= count
        yield _KINDS[number % len(_KINDS)], seed, cases
        number, seed = number + 1, seed + 1


def named_cases(seed: int) -> Iterator[tuple[Kind, int, Cases]]:
    """Each named point of the write path."""
    points: Cases = [(name, [name]) for name in (STORING | PUBLISHING)]
    yield "later", seed, [*points, ("recovering", ["after the commit", "before recovering a log row"])]
    yield "replay", seed, [(name, [name]) for name in REPLAYING]


def play(kind: Kind, seed: int, cases: Cases) -> Tally:
    """The cases of one stage."""
    tally = Tally()
    with TemporaryDirectory(prefix="crashes-") as folder:
        with Stage(Path(folder), kind, seed=seed, is_small=False) as stage:
            for number, (said, moments) in enumerate(cases):
                try:
                    stage.case(moments, is_watched=True, is_thorough=number % _THOROUGH == 0)
                except AssertionError as wrong:
                    tally.failures.append(f"{kind}, {said}, {moments}: {wrong}")
                tally.cases += 1
                tally.kills += len(moments)
        tally.reads, tally.torn = stage.reads, stage.torn
        tally.falls, tally.states, tally.left = stage.falls, stage.states, stage.left
    return tally
