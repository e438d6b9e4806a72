"""What `dagster -m usage_pipeline.definitions` loads; importing it does nothing.

Put nothing else here: definitions are assembled in defs/build.py.
"""

import os

import dagster as dg

from usage_pipeline.defs.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """The pipeline's assets, checks, job and schedule, with settings from the environment and `.env`."""
    os.umask(0o077)  # what the runs of this process write tells what a company spends
    return build_defs()
