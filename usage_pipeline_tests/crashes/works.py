"""What the processes do that are killed, interrupted or watched: a sync, a replay, reading what is published.

Put the work of a child process here, one function a kind; it says "begun" when it begins.
"""

import os
import resource
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import duckdb

from usage_pipeline.api.client import UsageClient
from usage_pipeline.cli import process
from usage_pipeline.name_lists import LISTS
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.sync import SyncReport, choose_endpoints, sync
from usage_pipeline_tests.oracle import points
from usage_pipeline_tests.oracle.truth import ENDPOINTS as SMALL_ENDPOINTS

Kind = Literal["sync", "replay"]
_SAME = """
select
    (select sum(amount) from usage.costs) is not distinct from (select sum(amount) from marts.cost_daily)
    and (select sum(rows) from meta.coverage where endpoint = 'costs') is not distinct from
        (select nullif(count(*), 0) from usage.costs)
    and (select sum(rows) from meta.coverage where endpoint = 'completions') is not distinct from
        (select nullif(count(*), 0) from usage.completions)
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the pipeline; `now` is everybody's clock, `is_small` the oracle's small machinery."""

    settings: Settings
    now: datetime
    is_small: bool
    kind: Kind = "sync"
    die_at: str | None = None

    def go(self) -> None:
        """Do it, and let no failure pass."""
        with ExitStack() as stack:
            if self.is_small:
                stack.enter_context(points.small())
            if self.die_at is not None:
                stack.enter_context(points.at(self.die_at, _die))
            if self.kind == "replay":
                replay(self.settings)
                return
            report = self.sync()
        failed = [*report.failed, *(one for one in report.names if one.error)]
        assert not failed, [str(one.error) for one in failed]
        assert report.refresh_error is None, str(report.refresh_error)

    def sync(self) -> SyncReport:
        """Read all that is due and publish."""
        return sync(
            self.settings,
            choose_endpoints(SMALL_ENDPOINTS if self.is_small else None),
            lists=[] if self.is_small else list(LISTS.values()),
            clock=lambda: self.now,
            client_factory=self._client,
        )

    def _client(self, settings: Settings) -> UsageClient:
        return UsageClient(base_url=settings.base_url, key=settings.require_key(), clock=lambda: self.now)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(line: Connection, work: Run) -> None:
    """One run."""
    line.send("begun")
    work.go()


def command(line: Connection, environment: dict[str, str], arguments: list[str], said: Path) -> None:
    """The command line as the console script runs it; what it says on stderr goes to a file."""
    os.environ.update(environment)
    sys.argv = ["usage-pipeline", *arguments]
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT, 0o600), 2)
    line.send("begun")
    process.run()


def starve(line: Connection, work: Run, spare_bytes: int) -> None:
    """One run in a process that may have only so much more memory."""
    line.send("begun")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + spare_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    work.go()


def read(line: Connection, path: str) -> None:
    """Open and read the published file, again and again, until told to stop; answers reads and torn ones."""
    line.send("begun")
    reads = torn = 0
    while not line.poll(0.02):
        if Path(path).exists():  # the first sync may not have published yet
            with duckdb.connect(path, read_only=True) as con:
                torn += con.execute(_SAME).fetchone() != (True,)
            reads += 1
    line.send((reads, torn))
