"""Spark groups the rows of usage (`derived.GROUPED_VIEWS`), for those who have more than one machine is for.

The door to pyspark and sqlglot. Spark reads the lake's files and writes what it computed as Parquet into the data
folder, so its workers need the folder at the same path; marts are made from that by DuckDB, as they always are.
Put starting Spark and giving it tables and queries here; which days are computed is build.py's.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema as DeltaSchema

from usage_pipeline.errors import FixConfig, RetryLater
from usage_pipeline.lake.engine import list_sql
from usage_pipeline.lake.leftovers import GROUPED
from usage_pipeline.lake.schemas import storage_parts
from usage_pipeline.lake.snapshot import Pinned, Relation, Snapshot
from usage_pipeline.marts.derived import derived_relations

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_EXTRA = "usage-pipeline[spark]"
_SAID = 300
_PLACE = "place"  # the position of an organization's day in what was asked for, and the folder its rows are in
_SETTINGS: dict[str, bool | float | int | str | None] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # a sum that does not fit is an error, not null
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",  # `2026` in a folder's name is text
    "spark.ui.showConsoleProgress": "false",
}
_WANTED = pa.schema([("organization", pa.string()), ("date", pa.date32()), (_PLACE, pa.int32())])

OrganizationDay = tuple[str, date]


@dataclass(frozen=True, slots=True)
class Grouped:
    """The rows Spark computed: by view and organization's day the files."""

    files: Mapping[str, Mapping[OrganizationDay, list[str]]]

    def relation(self, view: Relation, organizations: Collection[str], days: Collection[date]) -> Relation:
        """The view, read from what was computed; its own query, of no rows, says what the columns are."""
        held = self.files[view.name]
        files = [file for one in organizations for day in days for file in held.get((one, day), ())]
        empty = f"select * from ({view.sql}) where false"  # noqa: S608 - own text
        if not files:
            return Relation(schema=view.schema, name=view.name, sql=empty, comment=view.comment)
        read = f"select * from read_parquet({list_sql(files)}, hive_partitioning = false)"  # noqa: S608 - own files
        return Relation(
            schema=view.schema, name=view.name, sql=f"{empty} union all by name {read}", comment=view.comment
        )

    def rows(self) -> dict[OrganizationDay, int]:
        """The most rows any view has of an organization's day."""
        most: dict[OrganizationDay, int] = defaultdict(int)
        for held in self.files.values():
            for key, files in held.items():
                most[key] = max(most[key], sum(pq.read_metadata(file).num_rows for file in files))
        return most


NOTHING_GROUPED = Grouped({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Spark:
    """Where Spark is, and where what it computes is put.

    `master`: `spark://host:port`, `sc://host:port` (Connect), `local[*]`; None: what Spark's own configuration says.
    """

    data_dir: Path
    master: str | None

    @contextmanager
    def grouped(
        self, snapshot: Snapshot, views: Collection[str], wanted: Collection[OrganizationDay]
    ) -> Iterator[Grouped]:
        """Let Spark compute these of GROUPED_VIEWS for organizations' days; the files are there while the block runs.

        The caller holds the warehouse's lock.

        Raises:
            FixConfig: pyspark is not there.
            RetryLater: Spark failed; nothing was changed.
        """
        folder = (self.data_dir / GROUPED).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            places = sorted(wanted)
            asked = [{"organization": one, "date": day, _PLACE: at} for at, (one, day) in enumerate(places)]
            pq.write_table(pa.Table.from_pylist(asked, schema=_WANTED), folder / "wanted.parquet")
            _compute(folder, snapshot, views, places, self.master)
            yield Grouped({name: _written(folder / name, places) for name in views})
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _compute(
    folder: Path, snapshot: Snapshot, views: Collection[str], places: Sequence[OrganizationDay], master: str | None
) -> None:
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
    except ImportError:
        raise FixConfig(f"Spark is to compute the marts, and is not installed: pip install '{_EXTRA}'.") from None
    try:
        spark = _session(master)
        days = spark.read.parquet(f"file://{folder}/wanted.parquet")
        parts = {(organization, part) for organization, day in places for part in storage_parts([day])}
        for name, pinned in snapshot.usage.items():
            rows = _rows(spark, pinned, parts).join(days, ["organization", "date"], "left_semi")
            rows.createOrReplaceTempView(f"usage_{name}")
        for view in derived_relations():
            if view.name in views:
                rows = spark.sql(_in_sparks_words(view.sql)).join(days, ["organization", "date"])
                rows.repartition(_PLACE).write.partitionBy(_PLACE).parquet(f"file://{folder}/{view.name}")
    except (PySparkException, Py4JError) as failed:
        said = " ".join(str(failed).split())[:_SAID]
        raise RetryLater(
            f"Spark did not compute the marts, which are as they were: {said} (Spark needs Java 17 or newer, and its "
            "workers see the data folder at the same path; `--engine duckdb` does without.)"
        ) from failed


def _session(master: str | None) -> "SparkSession":
    """The session of this process: what it started serves until the process ends."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("usage_pipeline").config(map=_SETTINGS)
    if master is not None:
        builder = builder.remote(master) if master.startswith("sc://") else builder.master(master)
    return builder.getOrCreate()


def _rows(spark: "SparkSession", pinned: Pinned, parts: Collection[tuple[str, str]]) -> "DataFrame":
    """A table's rows of these storage partitions; columns a file has not got are null."""
    from pyspark.sql.types import StructType

    schema = StructType.fromJson(json.loads(DeltaSchema.from_arrow(pinned.table.schema).to_json()))
    files = pinned.table.files(pinned.at, parts)
    if not files:
        return spark.createDataFrame([], schema)
    reader = spark.read.schema(schema).option("basePath", f"file://{pinned.table.path.resolve()}")
    return reader.parquet(*(f"file://{file}" for file in files))


def _in_sparks_words(sql: str) -> str:
    """A grouped view's query as Spark writes it, over tables without a schema."""
    import sqlglot
    from sqlglot import exp

    query = sqlglot.parse_one(sql, dialect="duckdb")
    for table in list(query.find_all(exp.Table)):
        table.replace(exp.to_table(f"{table.db}_{table.name}"))
    return query.sql(dialect="spark")


def _written(folder: Path, places: Sequence[OrganizationDay]) -> dict[OrganizationDay, list[str]]:
    """The files Spark wrote, by the day they are of."""
    found = {}
    for held in folder.glob(f"{_PLACE}=*"):
        found[places[int(held.name.partition("=")[2])]] = sorted(map(str, held.glob("*.parquet")))
    return found
