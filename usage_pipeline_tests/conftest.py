"""Fixtures every kind of test shares: a served organization at a fixed virtual time, and settings that point at it."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import hypothesis
import pytest

from usage_pipeline.settings import Settings
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.world import World, open_world

# How long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_LONGEST = tuple(
    f"usage_pipeline_tests/{module}.py"
    for module in ("dagster/test_ui", "dagster/test_demo", "crashes/test_kills", "unit/test_quarter")
)


@pytest.fixture(scope="session")
def still_world() -> Iterator[World]:
    """One organization whose time stands still, shared by tests that do not move it and know every endpoint.

    It keeps the days it made once: asked within `oracle.points.small`, it would keep bills of two endpoints.
    """
    with open_world() as world:
        yield world


@pytest.fixture
def world() -> Iterator[World]:
    """An organization of the test's own, whose clock it may move."""
    with open_world() as world:
        yield world


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data folder, with a space in its name as people's folders have."""
    return tmp_path / "my data"


@pytest.fixture
def settings(still_world: World, data_dir: Path) -> Settings:
    """Settings that read the still world into the test's data folder."""
    return still_world.settings(data_dir)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine's, nor a .env of the checkout, reaches a test."""
    for name in list(os.environ):
        if name.startswith(("USAGE_PIPELINE_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _chosen_marts(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked `marts(...)` has these marts only."""
    chosen = request.node.get_closest_marker("marts")
    with nullcontext() if chosen is None else only_marts(*chosen.args):
        yield


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: tests that wait for processes of their own leave a core idle."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules whose single tests take longest: begun last, one core would wait for them."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
