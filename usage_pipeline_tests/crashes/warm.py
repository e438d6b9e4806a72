"""Processes forked from one that has imported everything: a run of its own for the price of a fork.

Put starting and killing of processes here; what they do is works.py's. The process that forks has only imported: no
thread of an engine is alive in it, so each child starts its own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_PATIENCE_SECONDS = 120.0
_IMPORTED = (
    "usage_pipeline.replay",
    "usage_pipeline.sync_many",
    "usage_pipeline.verify",
    "usage_pipeline.cli.process",
    "usage_pipeline.api.server",
    "usage_pipeline.simulator.organization",
)


@cache
def _context() -> Any:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    return context


class Child:
    """A process that has begun its work; `talk` is the line to it."""

    def __init__(self, process: BaseProcess, talk: Connection) -> None:
        self.process = process
        self.talk = talk

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def wait(self) -> int:
        """Its exit code; negative where a signal ended it."""
        self.process.join(_PATIENCE_SECONDS)
        assert self.process.exitcode is not None, "the run does not end"
        return self.process.exitcode

    def kill_after(self, seconds: float) -> int:
        """SIGKILL it at that moment, unless it has ended before."""
        self.process.join(seconds)
        self.process.kill()
        return self.wait()


@contextmanager
def started(work: Callable[..., None], *arguments: Any) -> Iterator[Child]:
    """A process that does `work(line, *arguments)`; the block begins when it has said that it begins.

    Whatever happens in the block, the process has ended after it.
    """
    context = _context()
    mine, its = context.Pipe()
    process = context.Process(target=work, args=(its, *arguments))
    process.start()
    its.close()
    try:
        assert mine.poll(_PATIENCE_SECONDS), "the run does not begin"
        assert mine.recv() == "begun"
        yield Child(process, mine)
    finally:
        process.kill()
        process.join()
        mine.close()
