"""Two runs of one folder at once, as two processes: one result, once."""

from pathlib import Path

import pytest

from usage_pipeline_tests.crashes import works
from usage_pipeline_tests.crashes.stage import Kind, Stage
from usage_pipeline_tests.crashes.warm import started


@pytest.mark.parametrize("kind", [pytest.param("first", marks=pytest.mark.slow), "later"])
def test_two_runs_of_the_same_windows_end_well_and_write_once(kind: Kind, tmp_path: Path) -> None:
    """Both end without an error, and what is published and stored is what one run alone leaves: no row twice."""
    with Stage(tmp_path, kind, is_small=True) as stage:
        for _ in range(2):
            stage.restore()
            with started(works.run, stage.next(stage.run)) as one, started(works.run, stage.next(stage.run)) as other:
                assert (one.wait(), other.wait()) == (0, 0)
            stage.check_new()
