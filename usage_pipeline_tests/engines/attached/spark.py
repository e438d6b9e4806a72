"""Spark: a standalone master and two workers on loopback; the files of the newest version, with Delta's own schema.

Delta's connector for Spark is a jar of Maven's, which pip does not bring; with it, a table is read by its folder.
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
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from usage_pipeline_tests.engines.attached.task import Task, answer, given

_WORKERS = 2
_SECONDS = 120
_DEPLOY = "org.apache.spark.deploy"
_LOOPBACK = "127.0.0.1"
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.executor.memory": "512m",
    "spark.driver.host": _LOOPBACK,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


@contextmanager
def running(name: str, log: Path, *command: str) -> Iterator[None]:
    """A process of Spark's while the block runs; what it says goes into the log."""
    home = Path(pyspark.__file__).parent
    env = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": _LOOPBACK, "SPARK_NO_DAEMONIZE": "1"}
    with log.open("wb") as said:
        words = [str(home / "bin" / "spark-class"), f"{_DEPLOY}.{name}", "--host", _LOOPBACK, "--webui-port", "0"]
        process = subprocess.Popen([*words, *command], env=env, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(log: Path, said: str, times: int = 1) -> None:
    """Until the log says so.

    Raises:
        TimeoutError: it never did.
    """
    until = time.monotonic() + _SECONDS
    while len(re.findall(said, log.read_text(errors="replace"))) < times:
        if time.monotonic() > until:
            raise TimeoutError(f"no {said!r} after {_SECONDS} s in:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def attach(spark: SparkSession, task: Task) -> None:
    """Every table as a view over the files of its newest version; partition columns are in the folder names."""
    for table in task.tables:
        reader = spark.read.schema(StructType.fromJson(table.schema)).option("basePath", table.folder)
        reader.parquet(*table.files).createOrReplaceTempView(table.name)


def main() -> None:
    """Start the cluster, answer, end it."""
    task = given()
    with socket.socket() as free:
        free.bind((_LOOPBACK, 0))
        port = free.getsockname()[1]
    address, master = f"spark://{_LOOPBACK}:{port}", task.answers / "master.log"
    with ExitStack() as cluster:
        cluster.enter_context(running("master.Master", master, "--port", str(port)))
        wait_for(master, "I have been elected leader")
        for n in range(_WORKERS):
            options = ["--cores", "1", "--memory", "1g", "--work-dir", str(task.answers / f"worker{n}")]
            cluster.enter_context(running("worker.Worker", task.answers / f"worker{n}.log", *options, address))
        wait_for(master, "Registering worker", _WORKERS)
        spark = SparkSession.builder.master(address).config(map=_SETTINGS).getOrCreate()
        cluster.callback(spark.stop)
        attach(spark, task)
        answer(task, pyspark.__version__, lambda statement: spark.sql(statement).toArrow())


main()
