"""`python -m usage_pipeline_tests.crashes --kills 200`: whole syncs killed at random moments, and at each named point.

Put the command line here.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from usage_pipeline_tests.crashes.rounds import Tally, named_cases, play, random_cases


def _print(tally: Tally, seconds: float) -> None:
    falls, states = tally.falls, tally.states
    print(  # noqa: T201 - its answer
        f"{tally.kills} kills in {tally.cases} cases, {seconds:.0f} s; they fell: {falls['reading']} before anything "
        f"was written, {falls['writing']} while writing, {falls['publishing']} while publishing, {falls['after']} after"
        f"\npublished afterwards: {states['published old']} old, {states['published new']} new"
        f"\ntables of the lake afterwards: {states['lake old']} old, {states['lake new']} new, "
        f"{states['lake same']} where both are the same"
        f"\nreads of the published file meanwhile: {tally.reads}, of half a run: {tally.torn}"
        f"\nleft behind, and swept by the next run: {dict(tally.left) or 'nothing'}"
        f"\nthird states, and cases the next run did not put right: {len(tally.failures)}"
    )
    for failure in tally.failures:
        print(failure)  # noqa: T201 - its answer


def main() -> int:
    """Run the cases, as many stages at once as there are jobs."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first stage")
    parser.add_argument("--jobs", type=int, default=2, help="stages at once")
    parser.add_argument("--points", action="store_true", help="kill at each named point of the write path, too")
    asked = parser.parse_args()
    stages = [*random_cases(asked.kills, asked.seed), *(named_cases(asked.seed) if asked.points else ())]
    began, tally = time.monotonic(), Tally()
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        for done in pool.map(play, *zip(*stages, strict=True)):
            tally.add(done)
            if sys.stderr.isatty():
                print(f"\r{tally.kills} kills", end="", file=sys.stderr)  # noqa: T201 - progress
    _print(tally, time.monotonic() - began)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
