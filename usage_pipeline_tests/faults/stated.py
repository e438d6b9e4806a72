"""A service of one endpoint whose two days hold one value, so that a test can tell states of the warehouse apart."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600
DAY = 86400
WINDOW = Window.of_times(FIRST, FIRST + 2 * DAY)


class StatedService(Played):
    """One endpoint, a day of which holds one value."""

    def state(self, value: int) -> None:
        """Let a minute pass and every day hold the value."""
        self.now += timedelta(minutes=1)
        for n in range(2):
            result = {"object": "organization.usage.vector_stores.result", "project_id": "p", "usage_bytes": value}
            self.put("vector_stores", FIRST + n * DAY, result)

    def sync_state(self, settings: Settings, value: int) -> None:
        """Hold the value and sync it."""
        self.state(value)
        self.sync(settings, WINDOW, "vector_stores")


@contextmanager
def power_lost(settings: Settings) -> Iterator[None]:
    """What the block writes into the lake never reached the disk; raw did."""
    kept = settings.data_dir / "kept"
    shutil.copytree(settings.lake_dir, kept)
    yield
    shutil.rmtree(settings.lake_dir)
    kept.rename(settings.lake_dir)
