"""`python -m usage_pipeline_tests.year`: the simulated year, judged every day and at its end; exit 1 where it fails.

Put the command line and the table it prints here.
"""

import argparse
import logging
import resource
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from usage_pipeline.name_lists import LISTS
from usage_pipeline_tests.oracle.points import small
from usage_pipeline_tests.year.walk import Tally, Wrong, Year

_FRESH_SHARE = 0.999


def main() -> int:
    """Live the year in a temporary folder."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failing", type=float, default=0.05, help="share of the requests that fail")
    parser.add_argument("--small", action="store_true", help="two endpoints and three marts, without names")
    asked = parser.parse_args()
    warnings.simplefilter("error")
    logging.disable(logging.ERROR)  # requests that fail are what the year is made of
    began = time.monotonic()
    with TemporaryDirectory(prefix="year-") as folder, small() if asked.small else nullcontext():
        year = Year(
            Path(folder),
            seed=asked.seed,
            days=asked.days,
            failing_share=asked.failing,
            lists=[] if asked.small else list(LISTS.values()),
            say=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201 - how far it is
        )
        try:
            year.walk()
        except (Wrong, RuntimeError) as wrong:
            print(f"seed {asked.seed} failed: {wrong}")  # noqa: T201 - its answer
            return 1
    print(table(year.tally, asked.seed, time.monotonic() - began))  # noqa: T201 - its answer
    if year.tally.servable_fresh < _FRESH_SHARE * year.tally.servable:
        print(f"seed {asked.seed} failed: fewer than {_FRESH_SHARE:.1%} were fresh")  # noqa: T201 - its answer
        return 1
    return 0


def table(tally: Tally, seed: int, seconds: float) -> str:
    """What happened, what was fresh, what it took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    failing = {way: count for way, count in tally.requests.items() if way not in ("well", "outage")}
    met = sum(tally.requests.values()) - tally.requests["outage"]
    rows = {
        "days, seed": f"{tally.days}, {seed}",
        "runs": ", ".join(f"{count} {what}" for what, count in sorted(tally.runs.items())),
        "requests": f"{met}, of which {sum(failing.values())} failed; {tally.requests['outage']} in outages",
        "endpoint-days that could be served": f"{tally.servable}, fresh by the next schedule {tally.servable_fresh}"
        f" ({tally.servable_fresh / max(1, tally.servable):.2%}), at the latest after {tally.longest_wait}",
        "all endpoint-days": f"{tally.pairs}, fresh {tally.fresh} ({tally.fresh / tally.pairs:.2%})",
        "days compared row by row": f"{tally.compared}, none differed",
        "end": "every day is what the service says; verify clean, marts equal a recompute, replay identical",
        "took": f"{seconds / 60:.1f} min, {sum(one.ru_utime + one.ru_stime for one in used) / 60:.1f} min of CPU",
    }
    width = max(map(len, rows))
    return "\n".join(f"{what:<{width}}  {said}" for what, said in rows.items())


if __name__ == "__main__":
    sys.exit(main())
