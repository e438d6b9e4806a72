"""`python -m usage_pipeline_tests.dagster.proof`: disturbed workers on many hosts leave the lake one process makes.

Two overlapping backfills of all endpoints by hours, asked for in the UI at once: each of Celery's workers has a data
folder of its own, the lake is on an S3 server, Dagster's storage in Postgres. Midway a worker's process is
killed. Put the sequence here; what it needs is apart.py's and bucket.py's. It needs redis-server,
Postgres and the extras `scale` and `store`, and takes minutes.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import yaml

from usage_pipeline.defs.home import prepare_home
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.dagster.apart import celery_workers, kill_child, postgres, redis
from usage_pipeline_tests.dagster.sharing import Limit
from usage_pipeline_tests.dagster.stage import KEY, recent
from usage_pipeline_tests.dagster.ui_driver import serving, until
from usage_pipeline_tests.objects.bucket import s3_server
from usage_pipeline_tests.objects.conftest import ENVIRONMENT
from usage_pipeline_tests.world import World, everything, open_world

_ASSETS = [["usage", name] for name in ENDPOINTS]
_RUNS_AT_ONCE = 4
_SECONDS = 3600.0


@contextmanager
def _shared(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """What the hosts share while the block runs: the lake's URL, and variables for broker, storage and bucket."""
    with redis(folder) as broker, postgres(folder) as storage, s3_server() as server:
        celery = {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker}
        store = {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.endpoint}
        yield server.bucket().url, {**store, **celery, "DAGSTER_POSTGRES_URL": storage}


def backfilled(world: World, limit: Limit, folder: Path, *, workers: int, days: int, disturbed: bool) -> Settings:
    """Two backfills by so many workers; the settings of a host that only reads what they left."""
    first = recent(days).start.date().isoformat()
    more = {"OPENAI_ADMIN_KEY": KEY, "USAGE_PIPELINE_START_DATE": first, "USAGE_PIPELINE_BUCKET_WIDTH": "1h"}
    with _shared(folder) as (lake_url, shared):
        os.environ.update(shared)
        more["USAGE_PIPELINE_LAKE_URL"] = lake_url
        settings = world.settings(folder / "ui", USAGE_PIPELINE_EXECUTOR="celery", **more)
        home = _home(settings)
        with ExitStack() as hosts:
            children: list[subprocess.Popen[bytes]] = []
            for number in range(1, workers + 1):
                own = settings.model_copy(update={"data_dir": folder / f"host{number}"})
                own.data_dir.mkdir()
                variables = {**shared, "DAGSTER_HOME": str(home)}
                children += hosts.enter_context(celery_workers(1, own, variables, folder, first=number))
            ui, child = hosts.enter_context(serving(settings, folder))
            began, asked = time.monotonic(), [day.isoformat() for day in recent(days).dates()]
            backfills = [ui.backfill(asked, _ASSETS), ui.backfill(asked[days // 3 :], _ASSETS)]
            if disturbed:
                spoil = threading.Thread(target=_disturb, args=(limit, days, children[0]), daemon=True)
                spoil.start()
            until(lambda: all(ui.backfill_status(one).startswith("COMPLETED") for one in backfills), _SECONDS, child)
            took = time.monotonic() - began
            ended = ", ".join(ui.backfill_status(one) for one in backfills)
            runs = [run["status"] for run in ui.runs()]
            _say(
                f"{workers} workers{', disturbed' if disturbed else ''}: {ended}; {len(runs)} runs, of which "
                f"{runs.count('FAILURE')} failed; {limit.asked} requests, at most {limit.most_under_way} under way, "
                f"{took:.0f} s"
            )
        reader = world.settings(folder / "reader", **more)
        refresh(reader)
        _say(f"  verify of what is at the URL: {len(verify(reader).findings)} findings")
        return reader


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


def _disturb(limit: Limit, days: int, worker: "subprocess.Popen[bytes]") -> None:
    """Kill the process in which a worker works, at a third of the requests."""
    while limit.asked < len(ENDPOINTS) * -(-days // 7) // 3:
        time.sleep(0.05)
    kill_child(worker)
    _say(f"  worker 1's process killed after {limit.asked} requests")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Make the lake in one process, then by workers; 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.dagster.proof", description=__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seconds", type=float, default=1.0, help="what an answer takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 1], help="the first is disturbed")
    asked = parser.parse_args()
    differ = 0
    with TemporaryDirectory(prefix="proof-") as made:
        limit = Limit(1e6, asked.seconds)
        with open_world(now=utc_now(), faults=limit.wrap) as world:
            alone = world.settings(Path(made) / "alone", OPENAI_ADMIN_KEY=KEY, USAGE_PIPELINE_BUCKET_WIDTH="1h")
            world.sync(alone, recent(asked.days))
            wanted = everything(alone)
            _say(f"one process: {sum(map(len, wanted.values()))} rows in {len(wanted)} tables, {limit.asked} requests")
            for place, workers in enumerate(asked.workers):
                limit.asked = limit.most_under_way = 0
                folder = Path(made) / f"by{workers}"
                folder.mkdir()
                reader = backfilled(world, limit, folder, workers=workers, days=asked.days, disturbed=place == 0)
                found = everything(reader)
                wrong = [name for name in wanted if found.get(name) != wanted[name]]
                differ += len(wrong)
                _say(f"  tables that differ from one process's, row for row: {wrong or 'none'}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
