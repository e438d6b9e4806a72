"""Spark: a standalone master and two workers on loopback; the files of the newest version, with Delta's own schema.

Delta's connector for Spark is a jar of Maven's, which pip does not bring; with it, a table is read by its folder.
"""

import pyspark
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from usage_pipeline_tests.engines.attached.cluster import LOOPBACK, spark_cluster
from usage_pipeline_tests.engines.attached.task import Task, answer, given

_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.executor.memory": "512m",
    "spark.driver.host": LOOPBACK,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def attach(spark: SparkSession, task: Task) -> None:
    """Every table as a view over the files of its newest version; partition columns are in the folder names."""
    for table in task.tables:
        reader = spark.read.schema(StructType.fromJson(table.schema)).option("basePath", table.folder)
        reader.parquet(*table.files).createOrReplaceTempView(table.name)


def main() -> None:
    """Start the cluster, answer, end it."""
    task = given()
    with spark_cluster(task.answers) as address:
        spark = SparkSession.builder.master(address).config(map=_SETTINGS).getOrCreate()
        try:
            attach(spark, task)
            answer(task, pyspark.__version__, lambda statement: spark.sql(statement).toArrow())
        finally:
            spark.stop()


main()
