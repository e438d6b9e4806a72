"""Histories: which steps there are, seeded sequences of them, and the shortest one that still fails.

Put the choice of steps here; doing them is machine.py's. A case is one step and all the comparisons after it.
The steps are not hypothesis': of 1,005 steps of 67 histories it drew, 251 were different ones (all of these are), and
what threads and real kills leave to the moment it would call flaky. A step's own seed keeps it as it is when others are
left out.
"""

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from usage_pipeline_tests.oracle import healing, points
from usage_pipeline_tests.oracle.machine import LOOKBACK, Machine, Wrong
from usage_pipeline_tests.oracle.service import FATAL, PASSING, Fault
from usage_pipeline_tests.oracle.truth import ENDPOINTS, FIRST_DAY

STEPS = 15  # of one history


@dataclass(frozen=True)
class Step:
    """What to do; all that is left to chance in it follows from its own seed."""

    kind: str
    seed: int


@dataclass(frozen=True)
class Failure:
    """A history that went wrong, and how."""

    steps: tuple[Step, ...]
    story: tuple[str, ...]
    problem: str

    def __str__(self) -> str:
        numbered = [f"{number:3}. {line}" for number, line in enumerate(self.story, start=1)]
        return "\n".join([*numbered, "", self.problem, f"steps: {self.steps}"])


def history(seed: int, steps: int = STEPS) -> tuple[Step, ...]:
    """The steps of a seed."""
    rng = random.Random(seed)
    kinds = rng.choices(list(_ACTIONS), [weight for _, weight in _ACTIONS.values()], k=steps)
    return tuple(Step(kind, rng.randrange(10**9)) for kind in kinds)


def play(steps: Sequence[Step]) -> Failure | None:
    """Do the steps in a folder of their own; None where everything held."""
    story: list[str] = []
    with TemporaryDirectory(prefix="oracle") as folder:
        machine = Machine(Path(folder) / "data")
        for number, step in enumerate(steps, start=1):
            rng = random.Random(step.seed)
            machine.pass_time(timedelta(minutes=rng.choice((1, 30, 60, 200, 700, 1440))))
            changes = [machine.service.truth.change(rng, machine.today) for _ in range(rng.choice((0, 1, 1, 2, 4)))]
            story.append(f"{machine.service.now:%m-%d %H:%M} [{'; '.join(changes)}] {step.kind}")
            try:
                with nullcontext() if step.kind.startswith("whole") else points.small():
                    story[-1] += _ACTIONS[step.kind][0](machine, rng)
            except Exception as wrong:  # also what should not have been raised at all
                problem = str(wrong) if isinstance(wrong, Wrong) else f"unexpected {type(wrong).__name__}: {wrong}"
                return Failure(tuple(steps[:number]), tuple(story), problem)
    return None


def play_seed(seed: int) -> tuple[int, Failure | None]:
    """Play the history of a seed; both, for whoever plays many at a time."""
    return seed, play(history(seed))


def quiet() -> None:
    """Let nothing be logged: warnings of a damaged lake are what the damage is for."""
    logging.disable(logging.CRITICAL)


def shrink(failure: Failure, *, plays: int = 60) -> Failure:
    """Leave out steps as long as it still goes wrong; at most so many plays."""
    best, size = failure, max(1, len(failure.steps) // 2)
    while plays > 0:
        for start in range(len(best.steps) - 1 - size, -1, -size):
            plays -= 1
            found = play(best.steps[:start] + best.steps[start + size :])
            best = found or best
            if found or plays <= 0:
                break
        else:
            if size == 1:
                break
            size //= 2
    return best


# The steps


def _window(machine: Machine, rng: random.Random) -> tuple[date, date]:
    days = (machine.today - FIRST_DAY).days + 1
    first = rng.randrange(days)
    end = rng.randrange(first + 1, days + 2)  # tomorrow's bucket has not begun
    return FIRST_DAY + timedelta(days=first), FIRST_DAY + timedelta(days=end)


def _names(rng: random.Random) -> list[str]:
    return rng.choice((["costs"], ["completions"], list(ENDPOINTS), list(ENDPOINTS)))


def _sync(machine: Machine, rng: random.Random) -> str:
    names, window, per_page = _names(rng), _window(machine, rng), rng.choice((1, 2, 31))
    machine.sync(names, window, per_page=per_page)
    return f" {names} {window[0]}..{window[1]}, {per_page} days a page"


def _scheduled(machine: Machine, rng: random.Random) -> str:
    machine.sync(ENDPOINTS, per_page=rng.choice((1, 2, 31)))
    return ""


def _again(machine: Machine, rng: random.Random) -> str:
    names, window = _names(rng), _window(machine, rng)
    for _ in range(2):
        machine.sync(names, window)
        machine.pass_time(timedelta(minutes=1))
    return f" {names} {window[0]}..{window[1]}"


def _faulty(kinds: Sequence[str]) -> Callable[[Machine, random.Random], str]:
    def step(machine: Machine, rng: random.Random) -> str:
        names, is_due = _names(rng), rng.random() < 0.4
        window = None if is_due else _window(machine, rng)
        faults = [Fault(rng.choice(kinds), name, rng.choice((0, 0, 1, 2))) for name in rng.sample(names, k=1)]
        faults += [Fault(rng.choice(PASSING), rng.choice(names), rng.randrange(3))]
        machine.sync(names, window, faults=faults, per_page=rng.choice((1, 2)))
        return f" {names} {window or 'due'} {faults}"

    return step


def _earlier(machine: Machine, rng: random.Random) -> str:
    """What is due has a gap; where a later window is wrong, the earlier one must not be stored either.

    Today costs something, so that there is a later window to be wrong.
    """
    machine.pass_time(timedelta(days=LOOKBACK + 1))
    machine.sync(ENDPOINTS)
    machine.pass_time(timedelta(days=1))
    machine.ask_earlier()
    machine.service.truth.bill(rng, machine.today)
    kind = rng.choice(("beyond any bill", "beyond any bill", "500 once"))
    machine.sync(["costs"], faults=[Fault(kind, "costs", 0)])
    return f" {machine.start}, {kind}"


def _race(machine: Machine, rng: random.Random) -> str:
    name, window, point = rng.choice(ENDPOINTS), _window(machine, rng), rng.choice(list(points.STORING))
    other = window if rng.random() < 0.5 else _window(machine, rng)
    truth, is_undone = machine.service.truth, rng.random() < 0.4
    before = truth.copy()
    changes = [truth.change(rng, machine.today) for _ in range(rng.choice((0, 1, 2)))]

    def meanwhile() -> None:
        machine.pass_time(timedelta(minutes=1))
        if is_undone:
            truth.days = before
        changes.append("undone" if is_undone else truth.change(rng, machine.today))
        machine.sync([name], other)

    machine.race(name, window, point, meanwhile)
    return f" {name} {window}, {point}: another {other} [{'; '.join(changes)}]"


def _killed(machine: Machine, rng: random.Random) -> str:
    point = rng.choice([*points.STORING, *points.PUBLISHING, *points.RECOVERING])
    names = [rng.choice(ENDPOINTS)] if point in points.STORING else list(ENDPOINTS)
    window = None if rng.random() < 0.3 else _window(machine, rng)
    machine.sync(names, window, kill_at=point)
    return f" {names} {window or 'due'} {point}"


def _publish_killed(machine: Machine, rng: random.Random) -> str:
    point = rng.choice(list(points.PUBLISHING))
    machine.publish(kill_at=point)
    return f" {point}"


def _replay_killed(machine: Machine, rng: random.Random) -> str:
    point, skip = rng.choice(list(points.REPLAYING)), rng.randrange(4)
    machine.replay(point, skip)
    return f" {point}, {skip} skipped"


def _damage(machine: Machine, rng: random.Random) -> str:
    return f": {healing.lose(machine, rng, sync_first=rng.random() < 0.3)}"


def _spoilt(machine: Machine, rng: random.Random) -> str:
    return f": {healing.spoil(machine, rng, sync_first=rng.random() < 0.3)}"


def _died(machine: Machine, rng: random.Random) -> str:
    """A build dies on the way to another state, and the state is again what it was: nothing of the other is left."""
    truth, point = machine.service.truth, rng.choice(list(points.PUBLISHING))
    machine.sync(ENDPOINTS)
    before = truth.copy()
    truth.bill(rng, machine.today)
    machine.pass_time(timedelta(minutes=1))
    machine.sync(ENDPOINTS, kill_at=point)
    truth.days = before
    machine.pass_time(timedelta(minutes=1))
    machine.sync(ENDPOINTS)
    return f" {point}"


def _plain(do: Callable[[Machine], None]) -> Callable[[Machine, random.Random], str]:
    def step(machine: Machine, rng: random.Random) -> str:  # noqa: ARG001 - one shape for all
        do(machine)
        return ""

    return step


# What to do and how often.
_ACTIONS: dict[str, tuple[Callable[[Machine, random.Random], str], float]] = {
    "sync": (_sync, 22),
    "scheduled run": (_scheduled, 12),
    "sync twice": (_again, 3),
    "sync with passing faults": (_faulty(PASSING), 8),
    "sync with a fatal fault": (_faulty(FATAL), 18),
    "an earlier start": (_earlier, 3),
    "two writers": (_race, 10),
    "killed sync": (_killed, 12),
    "killed publish": (_publish_killed, 2),
    "publish": (_plain(Machine.publish), 2),
    "replay": (_plain(Machine.replay), 3),
    "killed replay": (_replay_killed, 2),
    "a build that died": (_died, 2),
    "damage": (_damage, 4),
    "one spoilt file": (_spoilt, 4),
    "reopen": (_plain(Machine.reopen), 1),
    "whole": (_plain(lambda machine: machine.whole(is_from_scratch=False)), 1.5),
    "whole, from scratch": (_plain(lambda machine: machine.whole(is_from_scratch=True)), 0.4),
}
