"""The event log's files: opened quickly, and as safe as they have to be."""

from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from usage_pipeline.defs.home import prepare_home


def test_each_file_of_the_event_log_has_one_engine(tmp_path: Path) -> None:
    """The launcher of a process sees to it; of many runs the oldest are forgotten, and made anew when asked for."""
    with dg.DagsterInstance.from_config(str(prepare_home(tmp_path))) as instance:
        assert instance.run_launcher is not None
        storage = instance.event_log_storage
        assert isinstance(storage, SqliteEventLogStorage)

        def engine(run_id: str) -> object:
            with storage.run_connection(run_id) as connection:
                return connection.engine

        first, index = engine("run0"), engine("index")
        assert engine("run0") is first
        assert index is not first
        for number in range(1, 20):
            engine(f"run{number}")
        assert engine("run0") is not first


def test_an_event_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """Files keep their write-ahead log, in which a kill loses nothing; only a loss of power costs the last events."""
    with dg.DagsterInstance.from_config(str(prepare_home(tmp_path))) as instance:
        assert instance.run_launcher is not None
        storage = instance.event_log_storage
        assert isinstance(storage, SqliteEventLogStorage)
        with storage.index_connection() as connection:
            assert connection.exec_driver_sql("pragma synchronous").scalar() == 1  # normal
            assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
