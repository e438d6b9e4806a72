"""The services that are read, each in a process of its own, so that what is measured does not serve.

Put starting and ending them here; what they serve is server.py's and the simulator's.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def serving_minutes(groups: int, *more: str) -> Iterator[str]:
    """The base URL of pre-rendered pages of minutes, so many rows each."""
    command = ["usage_pipeline_tests.benchmarks.server", str(groups), *more]
    with _serving(command, r"^(\d+)$") as port:
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def serving_organizations(count: int = 1, *more: str) -> Iterator[str]:
    """The base URL of so many made-up organizations, told apart by their keys; `more` are options of `simulate`."""
    command = ["usage_pipeline", "simulate", "--port", "0", "--organizations", str(count), *more]
    with _serving(command, r"OPENAI_BASE_URL=(\S+) ") as address:
        yield address


@contextmanager
def _serving(module: Sequence[str], said: str) -> Iterator[str]:
    """Run a module until the block ends; gives what it says, by a pattern, when it is ready."""
    command = [sys.executable, "-m", *module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            found = (re.search(said, line) for line in server.stdout)
            yield next(one[1] for one in found if one)
        finally:
            server.terminate()
