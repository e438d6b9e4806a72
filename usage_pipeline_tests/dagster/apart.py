"""Runs in processes of their own, as users' are: `python -m usage_pipeline_tests.dagster.apart` runs one.

Put starting runs, workers and what they need (Redis, Postgres) here; no test and no assertion about the pipeline.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

from usage_pipeline.cli.ui import environment
from usage_pipeline.defs.partitions import RANGE_END, RANGE_START, range_tags
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window

Process = subprocess.Popen[bytes]

DEFINITIONS = "usage_pipeline.definitions"
REDIS_PASSWORD = "canary-7d1f0a"
_SECONDS = 300.0
_NOT_ROOT = ("unshare", "--user", "--map-user=1000") if os.geteuid() == 0 else ()
_POLL_SECONDS = 0.05


def run_apart(
    settings: Settings,
    window: Window,
    assets: Sequence[str],
    more: Mapping[str, str],
    definitions: str = DEFINITIONS,
) -> str:
    """Run these assets of `sync_usage` with the executor of the settings; what it said, where it ended well."""
    tags = range_tags(window)
    command = [sys.executable, "-m", __name__, definitions, tags[RANGE_START], tags[RANGE_END], *assets]
    done = subprocess.run(
        command, env=environment_of(settings, more), capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise AssertionError(f"the run ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done.stdout + done.stderr


class Redis:
    """A Redis of a block's own, which keeps its queues in a file as one of operators' does."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        address = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{self.port}/0"
        self.variables = {"CELERY_BROKER_URL": address, "CELERY_RESULT_BACKEND": address}
        self._folder = folder
        self._running = ExitStack()

    def start(self) -> None:
        """Start it, with what it had when it was stopped."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--requirepass", REDIS_PASSWORD]
        kept = ["--appendonly", "yes", "--dir", str(self._folder)]
        command = ["redis-server", *options, *kept]
        child = self._running.enter_context(_running(command, dict(os.environ), self._folder / "redis.log"))
        _until_listens(self.port, child)

    def stop(self) -> None:
        """Stop it, as an upgrade does; who is connected loses the connection."""
        self._running.close()


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """Run a Redis while the block runs."""
    server = Redis(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A Postgres of the block's own; its address."""
    programs, port, data = _postgres_programs(), _free_port(), str(folder / "postgres")
    made = [
        *_NOT_ROOT,
        str(programs / "initdb"),
        "--pgdata",
        data,
        "--username",
        "dagster",
        "--auth",
        "trust",
        "--no-sync",
    ]
    subprocess.run(made, capture_output=True, check=True)
    options = ["-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
    with _running(
        [*_NOT_ROOT, str(programs / "postgres"), *options], dict(os.environ), folder / "postgres.log"
    ) as child:
        _until_listens(port, child)
        yield f"postgresql://dagster@127.0.0.1:{port}/postgres"


def has_postgres() -> bool:
    """Whether a Postgres server is installed and can be run: it refuses to be root's, which a namespace hides."""
    is_there = (_postgres_programs() / "initdb").exists()
    return is_there and subprocess.run([*_NOT_ROOT, "true"], capture_output=True, check=False).returncode == 0


def _postgres_programs() -> Path:
    """Debian keeps them out of the path."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))


@contextmanager
def celery_workers(
    count: int,
    settings: Settings,
    more: Mapping[str, str],
    folder: Path,
    *,
    first: int = 1,
    within: Sequence[str] = (),
) -> Iterator[list[Process]]:
    """Workers as operators start them, each a process with one more that works; tasks wait for those not up yet.

    What they are begun `within` is a command that becomes the one behind it.
    """
    program = str(Path(sys.executable).with_name("celery"))
    with ExitStack() as stack:
        children = []
        for number in range(first, first + count):
            options = ["--concurrency", "1", "--disable-prefetch", "-n", f"w{number}@%h"]
            command = [*within, program, "-A", "dagster_celery.app", "worker", *options]
            env = environment_of(settings, more)
            children.append(stack.enter_context(_running(command, env, folder / f"worker{number}.log")))
        yield children


def kill_child(worker: Process) -> None:
    """Kill the process in which a worker works; it begins another."""
    asked = ["pgrep", "--parent", str(worker.pid), "--full", "dagster_celery"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(found[0]), signal.SIGKILL)


def has_program(name: str) -> bool:
    """Whether the program is installed."""
    return shutil.which(name) is not None


def environment_of(settings: Settings, more: Mapping[str, str]) -> dict[str, str]:
    """What a process of these settings is begun with."""
    home = settings.data_dir.resolve() / "dagster"
    return {**os.environ, **environment(settings), "DAGSTER_HOME": str(home), **more}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_listens(port: int, child: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + 30
    while child.poll() is None and time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise AssertionError(f"nothing listens on port {port}")


@contextmanager
def _running(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[Process]:
    with log.open("wb") as output:
        child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main() -> int:
    """Run what the arguments say on the instance of DAGSTER_HOME; exit 1 where it fails."""
    definitions, first, last, *assets = sys.argv[1:]
    repository = ReconstructableRepository.for_module(definitions, "defs", working_directory=str(Path.cwd()))
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(
            repository.get_reconstructable_job("sync_usage"),
            instance,
            tags={RANGE_START: first, RANGE_END: last},
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
        )
        return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
