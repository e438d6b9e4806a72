"""`python -m usage_pipeline_tests.dagster.proof`: disturbed workers on many hosts leave the lake one process makes.

Two overlapping backfills by hours, asked for in the UI at once. Each of Celery's workers has a data folder of its own
and, where this user may make one, a network namespace; the lake is on an S3 server, Dagster's storage in Postgres.
Midway a worker's process is killed, and later Redis is restarted. Put the sequence here; what it needs is apart.py's,
netns.py's and bucket.py's. It needs redis-server, Postgres and the extras `scale` and `store`, and takes minutes.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch
from urllib.parse import urlsplit

import dagster as dg
import yaml

from usage_pipeline.defs.home import prepare_home
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.dagster import netns
from usage_pipeline_tests.dagster.apart import Process, Redis, celery_workers, kill_child, postgres, redis
from usage_pipeline_tests.dagster.sharing import Limit
from usage_pipeline_tests.dagster.stage import KEY, recent
from usage_pipeline_tests.dagster.ui_driver import serving, until
from usage_pipeline_tests.objects.bucket import s3_server
from usage_pipeline_tests.objects.conftest import ENVIRONMENT
from usage_pipeline_tests.world import World, everything, open_world

_RUNS_AT_ONCE = 4
_DOWN_SECONDS = 5.0
_SECONDS = 3600.0


@dataclass(frozen=True)
class Work:
    """What is backfilled, the folder that one process made of it, and the requests that it took."""

    world: World
    limit: Limit
    names: Sequence[str]
    days: int
    alone: Settings
    requests: int

    def settings(self, data_dir: Path, **more: str) -> Settings:
        """Those of a host."""
        return _settings(self.world, data_dir, self.days, **more)


@dataclass(frozen=True)
class Outcome:
    """How the backfills and their runs ended, and the settings of a host that only reads what they left."""

    backfills: Sequence[str]
    runs: Sequence[str]
    seconds: float
    reader: Settings


@contextmanager
def prepared(folder: Path, names: Sequence[str], days: int, seconds: float) -> Iterator[Work]:
    """Serve an organization whose answers take so long while the block runs; one process has its days by then."""
    limit = Limit(1e6, seconds)
    with open_world(now=utc_now(), faults=limit.wrap) as world:
        alone = _settings(world, folder / "alone", days)
        world.sync(alone, recent(days), names)
        yield Work(world, limit, names, days, alone, limit.asked)


def backfilled(work: Work, folder: Path, *, workers: int, disturbed: bool) -> Outcome:
    """Two backfills by so many workers, of all days and of the later two thirds."""
    folder.mkdir()
    work.limit.asked = work.limit.most_under_way = 0
    with _shared(folder) as (broker, lake_url, shared), patch.dict(os.environ, shared):
        settings = work.settings(folder / "ui", USAGE_PIPELINE_EXECUTOR="celery", USAGE_PIPELINE_LAKE_URL=lake_url)
        with _hosts(folder, settings, shared, workers) as running, serving(settings, folder) as (ui, child):
            if disturbed:
                threading.Thread(target=_disturb, args=(work, running[0], broker), daemon=True).start()
            began, asked = time.monotonic(), [day.isoformat() for day in recent(work.days).dates()]
            assets = [["usage", name] for name in work.names]
            backfills = [ui.backfill(asked, assets), ui.backfill(asked[work.days // 3 :], assets)]
            until(lambda: all(ui.backfill_status(one).startswith("COMPLETED") for one in backfills), _SECONDS, child)
            took = time.monotonic() - began
            ended = [ui.backfill_status(one) for one in backfills]
            runs = [run["status"] for run in ui.runs()]
        reader = work.settings(folder / "reader", USAGE_PIPELINE_LAKE_URL=lake_url)
        refresh(reader)
        findings = verify(reader).findings
        if findings:
            raise AssertionError(f"what is at the URL does not hold: {findings}")
        return Outcome(ended, runs, took, reader)


def differing(work: Work, outcome: Outcome) -> list[str]:
    """The tables of which not every row is as one process made it."""
    wanted, found = everything(work.alone), everything(outcome.reader)
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


def _settings(world: World, data_dir: Path, days: int, **more: str) -> Settings:
    first = recent(days).start.date().isoformat()
    common = {"OPENAI_ADMIN_KEY": KEY, "USAGE_PIPELINE_START_DATE": first, "USAGE_PIPELINE_BUCKET_WIDTH": "1h"}
    return world.settings(data_dir, **common, **more)


@contextmanager
def _shared(folder: Path) -> Iterator[tuple[Redis, str, dict[str, str]]]:
    """What the hosts share while the block runs: the broker, the lake's URL, and the variables that lead to all."""
    with redis(folder) as broker, postgres(folder) as storage, s3_server() as server:
        store = {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.endpoint}
        yield broker, server.bucket().url, {**store, **broker.variables, "DAGSTER_POSTGRES_URL": storage}


@contextmanager
def _hosts(folder: Path, settings: Settings, shared: dict[str, str], workers: int) -> Iterator[list[Process]]:
    """So many workers while the block runs, each with a folder and, where that can be, a network of its own."""
    home = _home(settings)
    ports = sorted({urlsplit(one).port or 0 for one in (settings.base_url, *shared.values()) if "://" in one})
    separate = netns.can_separate()
    _say(f"  {workers} workers, {'in network namespaces of their own' if separate else 'in one network'}")
    with ExitStack() as stack:
        if separate:
            stack.enter_context(netns.carried(folder, ports))
        running: list[Process] = []
        for number in range(1, workers + 1):
            own = settings.model_copy(update={"data_dir": folder / f"host{number}"})
            own.data_dir.mkdir()
            within = netns.inside(folder, ports) if separate else ()
            more = {**shared, "DAGSTER_HOME": str(home)}
            running += stack.enter_context(celery_workers(1, own, more, folder, first=number, within=within))
        yield running


def _home(settings: Settings) -> Path:
    """Dagster's home of all hosts, with its storage in Postgres."""
    home = prepare_home(settings.data_dir)
    changed = yaml.safe_load((home / "dagster.yaml").read_text())
    changed["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    changed["concurrency"]["runs"]["max_concurrent_runs"] = _RUNS_AT_ONCE
    (home / "dagster.yaml").write_text(yaml.safe_dump(changed))
    with dg.DagsterInstance.from_config(str(home)):
        pass  # its tables are made before several processes would make them at once
    return home


def _disturb(work: Work, worker: Process, broker: Redis) -> None:
    """Kill the process in which a worker works at a third of one process's requests, restart Redis at two thirds."""
    while work.limit.asked < work.requests // 3:
        time.sleep(0.05)
    kill_child(worker)
    _say(f"  worker 1's process killed after {work.limit.asked} requests")
    while work.limit.asked < work.requests * 2 // 3:
        time.sleep(0.05)
    broker.stop()
    time.sleep(_DOWN_SECONDS)
    broker.start()
    _say(f"  Redis was away for {_DOWN_SECONDS:.0f} s after {work.limit.asked} requests")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _proved(work: Work, folder: Path, workers: int, *, disturbed: bool) -> bool:
    """Do it and tell it; whether all ended well with the same rows."""
    outcome = backfilled(work, folder, workers=workers, disturbed=disturbed)
    wrong, failed = differing(work, outcome), list(outcome.runs).count("FAILURE")
    _say(
        f"  {', '.join(outcome.backfills)}; {len(outcome.runs)} runs, of which {failed} failed; {work.limit.asked} "
        f"requests, at most {work.limit.most_under_way} under way, {outcome.seconds:.0f} s; tables that differ from "
        f"one process's, row for row: {', '.join(wrong) or 'none'}; findings of verify: none"
    )
    return not wrong and not failed and set(outcome.backfills) == {"COMPLETED_SUCCESS"}


def main() -> int:
    """Make the lake in one process, then by workers; 1 where they differ or a run failed."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.dagster.proof", description=__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seconds", type=float, default=1.0, help="what an answer takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 1], help="the first is disturbed")
    parser.add_argument("--endpoints", nargs="+", default=list(ENDPOINTS))
    asked = parser.parse_args()
    with (
        TemporaryDirectory(prefix="proof-") as made,
        prepared(Path(made), asked.endpoints, asked.days, asked.seconds) as work,
    ):
        wanted = everything(work.alone)
        _say(f"one process: {sum(map(len, wanted.values()))} rows in {len(wanted)} tables, {work.requests} requests")
        proved = [
            _proved(work, Path(made) / f"by{workers}", workers, disturbed=place == 0)
            for place, workers in enumerate(asked.workers)
        ]
    return 0 if all(proved) else 1


if __name__ == "__main__":
    sys.exit(main())
