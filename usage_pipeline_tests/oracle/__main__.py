"""`python -m usage_pipeline_tests.oracle --cases 10000`: histories by seed, in parallel; the first failure is printed.

Put the command line here.
"""

import argparse
import sys
import time
from multiprocessing import get_context

from usage_pipeline_tests.oracle.history import STEPS, play_seed, quiet, shrink

_TOLD_EVERY = 50  # histories


def main() -> int:
    """Run as many histories as the cases need."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.oracle", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help=f"steps in all; a history has {STEPS}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first history")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--no-shrink", action="store_true", help="print the failing history as it was found")
    asked = parser.parse_args()
    seeds = range(asked.seed, asked.seed + -(-asked.cases // STEPS))
    began = time.monotonic()
    with get_context("spawn").Pool(asked.jobs, initializer=quiet) as pool:
        for done, (seed, failure) in enumerate(pool.imap_unordered(play_seed, seeds), start=1):
            if failure is not None:
                pool.terminate()
                print(f"seed {seed} failed:\n{failure}", flush=True)  # noqa: T201 - its answer
                if not asked.no_shrink:
                    print(f"\nshrinking ...\n{shrink(failure)}")  # noqa: T201 - its answer
                return 1
            if sys.stderr.isatty() or done % _TOLD_EVERY == 0:
                end = "\r" if sys.stderr.isatty() else "\n"
                print(f"{done * STEPS} cases, {time.monotonic() - began:.0f} s", end=end, file=sys.stderr, flush=True)  # noqa: T201
    print(f"\n{len(seeds) * STEPS} cases in {len(seeds)} histories held, {time.monotonic() - began:.0f} s")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
