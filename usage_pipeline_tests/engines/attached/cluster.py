"""A cluster of Spark's on loopback while a block runs: a standalone master and two workers, processes of their own.

Put starting Spark here; it imports the standard library and pyspark alone.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

WORKERS = 2
LOOPBACK = "127.0.0.1"
_SECONDS = 120
_DEPLOY = "org.apache.spark.deploy"


@contextmanager
def spark_cluster(folder: Path) -> Iterator[str]:
    """The address of the master; logs and the workers' files go into the folder."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    address, master = f"spark://{LOOPBACK}:{port}", folder / "master.log"
    with ExitStack() as cluster:
        cluster.enter_context(_running("master.Master", master, "--port", str(port)))
        _wait_for(master, "I have been elected leader")
        for n in range(WORKERS):
            options = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"worker{n}")]
            cluster.enter_context(_running("worker.Worker", folder / f"worker{n}.log", *options, address))
        _wait_for(master, "Registering worker", WORKERS)
        yield address


@contextmanager
def _running(name: str, log: Path, *command: str) -> Iterator[None]:
    """A process of Spark's while the block runs; what it says goes into the log."""
    home = Path(pyspark.__file__).parent
    env = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": LOOPBACK, "SPARK_NO_DAEMONIZE": "1"}
    with log.open("wb") as said:
        words = [str(home / "bin" / "spark-class"), f"{_DEPLOY}.{name}", "--host", LOOPBACK, "--webui-port", "0"]
        process = subprocess.Popen([*words, *command], env=env, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(log: Path, said: str, times: int = 1) -> None:
    """Until the log says so.

    Raises:
        TimeoutError: it never did.
    """
    until = time.monotonic() + _SECONDS
    while len(re.findall(said, log.read_text(errors="replace"))) < times:
        if time.monotonic() > until:
            raise TimeoutError(f"no {said!r} after {_SECONDS} s in:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
