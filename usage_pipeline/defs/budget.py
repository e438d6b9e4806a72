"""The one budget of requests that all workers share: how many steps ask the service at once, each by how many requests.

Put the sharing here; how one client keeps to its number is api's. One process needs none of it: its client is the
budget.
"""

from functools import partial

from usage_pipeline.api.client import CONCURRENCY
from usage_pipeline.setting_checks import Executor
from usage_pipeline.sync import ClientFactory, make_client

API_POOL = "openai_api"  # Dagster counts who is in it, over all runs and machines
STEPS = 4  # in the pool at once: dagster.yaml's limit
_REQUESTS = CONCURRENCY // STEPS


def pool_of(executor: Executor) -> str | None:
    """The pool of the steps that ask the service; none where one process runs them all."""
    return None if executor == "in_process" else API_POOL


def client_factory_of(executor: Executor) -> ClientFactory:
    """Makes clients that together send no more requests at once than the one of a single process does."""
    return make_client if executor == "in_process" else partial(make_client, concurrency=_REQUESTS)
