"""A service of one endpoint, and a warehouse that has synced it twice: what tests of damage begin with."""

from pathlib import Path

import pytest

from usage_pipeline.settings import Settings
from usage_pipeline_tests.faults.stated import NOW, StatedService
from usage_pipeline_tests.played import played_settings


@pytest.fixture
def service() -> StatedService:
    """The service, holding nothing yet."""
    return StatedService(NOW)


@pytest.fixture
def synced(service: StatedService, data_dir: Path) -> Settings:
    """A first state and its restatement."""
    settings = played_settings(data_dir)
    service.sync_state(settings, 1)
    service.sync_state(settings, 2)
    return settings
