"""The host: does the daily run in a process of its own, which may be killed at any moment.

Put running and killing here; when a run is begun is walk.py's.
"""

import asyncio
import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import time_machine

from usage_pipeline.api.client import UsageClient
from usage_pipeline.defs.automation import due_window
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.name_lists import NameList
from usage_pipeline.settings import Settings
from usage_pipeline.sync import sync
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.oracle.points import SMALL_MARTS

_FORK = multiprocessing.get_context("fork")  # what is imported here need not be imported for each of 400 runs


class Killed(Exception):
    """The process was killed."""


def in_process(now: datetime, work: Callable[[], Any], kill_after: float | None = None) -> Any:
    """What the work returns, done in another process at a virtual moment.

    Raises:
        Killed: it was, after so many seconds.
        RuntimeError: it ended without an answer, or with an error.
    """
    ours, theirs = _FORK.Pipe(duplex=False)

    def do() -> None:
        with time_machine.travel(now, tick=True):
            try:
                theirs.send((work(), None))
            except Exception as wrong:  # shown where the year is walked
                theirs.send((None, f"{type(wrong).__name__}: {wrong}"))

    process = _FORK.Process(target=do)
    process.start()
    theirs.close()
    try:
        if kill_after is not None and not ours.poll(kill_after):
            process.kill()
        answer = ours.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL and kill_after is not None:
            raise Killed from None
        raise RuntimeError(f"a process ended by itself, exit code {process.exitcode}") from None
    finally:
        process.join()
    result, error = answer
    if error is not None:
        raise RuntimeError(error)
    return result


def daily_run(settings: Settings, lists: list[NameList], *, has_all_marts: bool) -> tuple[list[str], float]:
    """What the schedule's run does: reads what is due, and publishes. Returns what failed, and its seconds."""
    began = time.monotonic()
    window = due_window(settings, utc_now())
    with nullcontext() if has_all_marts else only_marts(*SMALL_MARTS):
        report = sync(settings, list(ENDPOINTS.values()), window, lists=lists, client_factory=_patient)
    failed = [str(one.error) for one in (*report.failed, *(n for n in report.names if n.error is not None))]
    if report.refresh_error is not None:
        failed.append(str(report.refresh_error))
    return failed, time.monotonic() - began


def _patient(settings: Settings) -> UsageClient:
    """A client that waits in virtual time only."""
    return UsageClient(
        base_url=settings.base_url, key=settings.require_key(), sleep=lambda _: asyncio.sleep(0), rng=random.Random(0)
    )
