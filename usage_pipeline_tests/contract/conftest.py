"""The simulated service on loopback, for tests that need a real socket. Put fixtures of this folder here."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline_tests import simulated


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """Base URL of a served organization that stands still."""
    with LoopbackServer(create_app(simulated.organization())) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def plain_client(service: str) -> Iterator[httpx.Client]:
    """A bare HTTP client with an admin key."""
    headers = {"Authorization": f"Bearer {simulated.KEY}"}
    with httpx.Client(base_url=service, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def official_client(service: str) -> Iterator[openai.OpenAI]:
    """The official package's client: written by others, so it shares no misreading with this repository."""
    with openai.OpenAI(admin_api_key=simulated.KEY, base_url=service, max_retries=0) as client:
        yield client
