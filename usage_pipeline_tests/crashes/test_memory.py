"""Memory that runs out: one clear error where the engine says so, and old or new in any case; the next run is whole."""

from pathlib import Path

import pytest

from usage_pipeline.errors import MemoryExhausted
from usage_pipeline.lake import engine
from usage_pipeline_tests.crashes import works
from usage_pipeline_tests.crashes.seen import seen
from usage_pipeline_tests.crashes.stage import Stage
from usage_pipeline_tests.crashes.warm import started
from usage_pipeline_tests.oracle.points import small

_PATIENCE_SECONDS = 15.0


def test_an_engine_without_memory_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DuckDB gets no more memory every endpoint says so with the way out, and all is as it was."""
    with Stage(tmp_path, "later", is_small=True) as stage, small():
        stage.restore()
        with monkeypatch.context() as patched:
            patched.setitem(engine.OFFLINE, "memory_limit", "200KB")
            engine._shared.cache_clear()  # the database that is open has another limit
            report = stage.next(stage.run).sync()
        engine._shared.cache_clear()
        errors = [one.error for one in report.failed] + [report.refresh_error] * (report.refresh_error is not None)
        assert {type(error) for error in errors} == {MemoryExhausted}, [str(error) for error in errors]
        assert "\n" not in str(errors[0])
        assert seen(stage.data_dir).published == stage.old.published
        stage.grow_old()
        stage.heal()


def test_a_process_without_memory_changes_nothing_or_everything(tmp_path: Path) -> None:
    """However a process that gets no more memory ends, old or new is what it leaves, and the next run is whole.

    An engine whose thread could not start may wait for it for ever (glibc says so on stderr): such a run is killed,
    as whoever runs it would do.
    """
    with Stage(tmp_path, "later", is_small=True) as stage:
        stage.restore()
        for spare_mib in (300, 700):  # the engines start; the run has begun to write
            with started(works.starve, stage.next(stage.run), spare_mib * 2**20) as child:
                child.kill_after(_PATIENCE_SECONDS)
            stage.check_old_or_new()
        stage.grow_old()
        stage.heal()
