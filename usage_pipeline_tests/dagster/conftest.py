"""Fixtures of the Dagster tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from usage_pipeline_tests.dagster.stage import Stage, staged


@pytest.fixture
def stage(data_dir: Path) -> Iterator[Stage]:
    """A world in the present with an instance of the test's own."""
    with staged(data_dir) as found:
        yield found
