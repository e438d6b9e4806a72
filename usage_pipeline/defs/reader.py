"""Reading endpoints beside the steps that wait for them: one thread, one event loop, one client.

Put the hand-over between Dagster's one-after-another steps and concurrent reads here; what a read does is sync.py's.
"""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime

from usage_pipeline.api.client import UsageClient
from usage_pipeline.endpoint_sync import EndpointSync, logged, sync_endpoint
from usage_pipeline.endpoints import Endpoint
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window

_CLOSE_SECONDS = 9.0  # a cancelled run must end within ten


class ConcurrentReader:
    """Reads and stores endpoints in the background; each result is taken once.

    Asking again for a result that was taken (a retried step) reads again.
    """

    def __init__(self, settings: Settings, client: UsageClient, sync_id: str, now: datetime) -> None:
        self._settings = settings
        self._client = client
        self._sync_id = sync_id
        self._now = now
        self._log = CoverageLog(Lake.of(settings))
        self._waiting: dict[str, Future[EndpointSync]] = {}
        self._begun: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="usage-reader", daemon=True)
        self._thread.start()

    def take(self, endpoint: Endpoint, window: Window, together: Sequence[Endpoint]) -> EndpointSync:
        """Wait for an endpoint's read; the first call begins those of all endpoints wanted together."""
        if endpoint.name not in self._waiting:
            for one in (endpoint, *(other for other in together if other.name not in self._begun)):
                if one.name not in self._waiting:
                    self._begin(one, window)
        (done,) = logged(self._settings, self._log, [self._waiting.pop(endpoint.name).result()])
        return done

    def close(self) -> bool:
        """Cancel what is unfinished and wait for commits under way; False where one is still not done.

        A commit is atomic: one that is left behind completes or leaves nothing.
        """
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        return not self._thread.is_alive()

    def _begin(self, endpoint: Endpoint, window: Window) -> None:
        self._begun.add(endpoint.name)
        read = sync_endpoint(self._settings, self._client, self._log, endpoint, window, self._now, self._sync_id)
        self._waiting[endpoint.name] = asyncio.run_coroutine_threadsafe(read, self._loop)

    def _run(self) -> None:
        """The thread: serve until stopped, then leave no task, connection or worker thread behind."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._wind_up())
        finally:
            self._loop.close()

    async def _wind_up(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.__aexit__(None, None, None)
        await self._loop.shutdown_default_executor()
