"""`python -m usage_pipeline_tests.dagster.sharing`: what a service with a rate limit sees of workers.

Put ways to run the same days here. For each it prints how many requests were under way at most, how many were refused
by 429, and the seconds; with `--backfill`, how long workers take for a long backfill of one endpoint. It needs
redis-server and the extra `scale`, and takes minutes.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from usage_pipeline.defs.budget import API_POOL
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import make_client
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.dagster.apart import DEFINITIONS, celery_workers, redis, run_apart
from usage_pipeline_tests.dagster.stage import KEY, recent
from usage_pipeline_tests.dagster.ui_driver import serving, until
from usage_pipeline_tests.world import open_world

_DAYS = 56
_BACKFILLED = 124
_ASSETS = tuple(f"usage/{name}" for name in ENDPOINTS)
_UNSHARED = "usage_pipeline_tests.dagster.sharing"


@dg.definitions
def defs() -> dg.Definitions:
    """The pipeline as it would be without a budget: each step's client sends as many requests as one process does."""
    return build_defs(client_factory=make_client)


@dataclass
class Limit:
    """Before the service: answers take their time, and those beyond a rate are refused."""

    per_second: float
    seconds: float
    left: float = 8.0  # a burst as large as one client's
    at: float = field(default_factory=time.monotonic)
    asked: int = 0
    refused: int = 0
    under_way: int = 0
    most_under_way: int = 0

    def wrap(self, app: Any) -> Any:
        """The app behind this limit."""

        async def limited(scope: Any, receive: Any, send: Any) -> None:
            self.asked += 1
            if not self._may_pass():
                self.refused += 1
                headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
                await send({"type": "http.response.start", "status": 429, "headers": headers})
                await send({"type": "http.response.body", "body": b'{"error": {"message": "slow down"}}'})
                return
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                await asyncio.sleep(self.seconds)
                await app(scope, receive, send)
            finally:
                self.under_way -= 1

        return limited

    def _may_pass(self) -> bool:
        now = time.monotonic()
        self.left, self.at = min(8.0, self.left + (now - self.at) * self.per_second), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


def one_process(settings: Settings, _folder: Path) -> None:
    """The default: one client for all."""
    run_apart(settings, recent(_DAYS), _ASSETS, {})


def workers_with_the_budget(settings: Settings, folder: Path) -> None:
    """Four workers of Celery's, as shipped."""
    _celery(settings, folder, DEFINITIONS)


def workers_without_a_budget(settings: Settings, folder: Path) -> None:
    """Four workers of Celery's, each with a client like that of one process, and no limit of the pool that counts."""
    with dg.DagsterInstance.from_config(str(settings.data_dir / "dagster")) as instance:
        instance.event_log_storage.set_concurrency_slots(API_POOL, 100)
    _celery(settings, folder, _UNSHARED)


WAYS: Mapping[str, tuple[str, Callable[[Settings, Path], None]]] = {
    "one process": ("in_process", one_process),
    "four workers, shared budget": ("celery", workers_with_the_budget),
    "four workers, no budget": ("celery", workers_without_a_budget),
}


def _celery(settings: Settings, folder: Path, definitions: str) -> None:
    with redis(folder) as broker:
        more = broker.variables
        with celery_workers(4, settings, more, folder):
            run_apart(settings, recent(_DAYS), _ASSETS, more, definitions)


def backfilled(workers: int, seconds: float) -> None:
    """A backfill of one endpoint's days of minutes, each a request, by the real UI and workers (0: one process)."""
    limit = Limit(1000.0, seconds)
    with (
        _served("celery" if workers else "in_process", _BACKFILLED, "1m", limit) as (settings, folder),
        redis(folder) as broker,
    ):
        home = prepare_home(settings.data_dir) / "dagster.yaml"
        home.write_text(home.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 4"))
        more = broker.variables
        os.environ.update(more)
        with celery_workers(workers, settings, more, folder), serving(settings, folder) as (ui, child):
            began = time.monotonic()
            backfill = ui.backfill([day.isoformat() for day in recent(_BACKFILLED).dates()], [["usage", "images"]])
            until(lambda: ui.backfill_status(backfill).startswith("COMPLETED"), 900, child)
            print(  # noqa: T201 - its answer
                f"{workers} workers: {ui.backfill_status(backfill)}, {len(ui.runs())} runs, {limit.asked} requests, at "
                f"most {limit.most_under_way} under way, {time.monotonic() - began:.0f} s",
                flush=True,
            )


@contextmanager
def _served(executor: str, days: int, width: str, limit: Limit) -> Iterator[tuple[Settings, Path]]:
    """Settings of a world behind a limit, and a folder."""
    with TemporaryDirectory(prefix="sharing-") as folder, open_world(now=utc_now(), faults=limit.wrap) as world:
        more = {
            "OPENAI_ADMIN_KEY": KEY,
            "USAGE_PIPELINE_START_DATE": recent(days).start.date().isoformat(),
            "USAGE_PIPELINE_EXECUTOR": executor,
            "USAGE_PIPELINE_BUCKET_WIDTH": width,
        }
        settings = world.settings(Path(folder) / "data", **more)
        with dg.DagsterInstance.from_config(str(prepare_home(settings.data_dir))):
            pass  # its tables are made before several processes would make them at once
        yield settings, Path(folder)


def main() -> int:
    """Go through the ways, each in a folder of its own."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.dagster.sharing", description=__doc__)
    parser.add_argument("--per-second", type=float, default=16.0, help="requests a second the service allows")
    parser.add_argument("--seconds", type=float, default=0.5, help="what an answer takes")
    parser.add_argument("--backfill", type=int, nargs="*", metavar="WORKERS", help="instead: a backfill by so many")
    asked = parser.parse_args()
    for workers in asked.backfill or ():
        backfilled(workers, asked.seconds)
    for name, (executor, run) in () if asked.backfill else WAYS.items():
        limit = Limit(asked.per_second, asked.seconds)
        with _served(executor, _DAYS, "1h", limit) as (settings, folder):  # a request for each week
            began = time.monotonic()
            run(settings, folder)
            print(  # noqa: T201 - its answer
                f"{name}: {limit.asked} requests, {limit.refused} refused by 429, at most {limit.most_under_way} "
                f"under way, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
