"""Spark groups the rows of usage, and the marts are what DuckDB alone makes them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.engines.lake import make_lake
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import NOW, last_days

# Spark's own configuration, as a cluster's owner has it: here for few rows, which need no compiling.
_CONFIGURED = """
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1
spark.executor.extraJavaOptions -XX:TieredStopAtLevel=1
spark.sql.adaptive.enabled false
spark.sql.codegen.wholeStage false
spark.driver.host 127.0.0.1
spark.executor.memory 512m
spark.sql.shuffle.partitions 2
spark.ui.enabled false
"""
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17 or newer, which is not here")


def _lose_the_marts(settings: Settings) -> None:
    shutil.rmtree(settings.lake_dir / "marts")
    shutil.rmtree(settings.lake_dir / "meta" / "mart_log")


def _build(settings: Settings, master: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type the command."""
    told = {"DATA_DIR": str(settings.data_dir), "SPARK_MASTER": master}
    ours = {f"USAGE_PIPELINE_{name}": value for name, value in told.items()}
    env = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", **ours, **variables}
    command = [sys.executable, "-m", "usage_pipeline", "build-marts", "--engine", "spark", "--json"]
    return subprocess.run(command, env=env, cwd=settings.data_dir.parent, capture_output=True, text=True, check=False)


@pytest.mark.slow
@needs_java
def test_marts_by_spark_are_those_duckdb_computes_again(tmp_path: Path) -> None:
    """`build-marts --engine spark` on a master and two workers; `verify` recomputes them by DuckDB, to the digit."""
    from usage_pipeline_tests.engines.attached.cluster import spark_cluster

    settings = make_lake(tmp_path / "data")
    _lose_the_marts(settings)
    with spark_cluster(tmp_path) as master:
        (tmp_path / "spark-defaults.conf").write_text(_CONFIGURED)
        done = _build(settings, master, SPARK_CONF_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    days = {mart["mart"]: mart["days"] for mart in json.loads(done.stdout)["marts"]}
    assert min(days.values()) > 0, days
    assert (tmp_path / "master.log").read_text().count("Launching executor") == 2  # the work was the cluster's
    assert not list(settings.data_dir.glob("marts.*"))
    assert verify(settings).findings == []


@pytest.mark.slow
def test_where_spark_does_not_start_nothing_changes_and_the_way_out_is_said(tmp_path: Path) -> None:
    """Without Java there is one error; the published file is as it was, and DuckDB builds afterwards."""
    service, settings = Played(NOW), played_settings(tmp_path / "data")
    service.sync(settings, last_days(2), "completions", "costs")
    before = settings.warehouse_path.read_bytes()
    _lose_the_marts(settings)
    done = _build(settings, "local[1]", JAVA_HOME=str(tmp_path / "no-java"))
    assert done.returncode == 1
    assert "--engine duckdb" in done.stderr.splitlines()[-1]
    assert settings.warehouse_path.read_bytes() == before
    refresh(settings)
    assert verify(settings).findings == []


def test_spark_that_is_not_installed_is_named_with_the_extra_it_needs(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyspark nothing is built, and the error says what to install."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, last_days(2), "completions")
    _lose_the_marts(settings)
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    with pytest.raises(FixConfig, match=r"usage-pipeline\[spark\]"):
        refresh(settings.model_copy(update={"mart_engine": "spark"}))


def test_what_a_killed_build_left_of_sparks_is_removed(data_dir: Path) -> None:
    """The next publishing removes the folder Spark wrote into."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, last_days(2), "completions")
    left = settings.data_dir / "marts.spark" / "usage_meters"
    left.mkdir(parents=True)
    assert verify(settings).findings == []
    refresh(settings)
    assert not left.parent.exists()
