"""An app on a real socket of this machine, for tests, the demo and `usage-pipeline simulate`.

Put the running of servers here and nothing of what they answer. Only the loopback address is ever bound: the served
data needs no key worth the name.
"""

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

from usage_pipeline.api.server import ROOT

_HOST = "127.0.0.1"
_START_SECONDS = 30.0


class LoopbackServer:
    """Serves an app from a background thread while the `with` block runs; port 0 takes a free one."""

    def __init__(self, app: Any, *, port: int = 0) -> None:
        self._socket = socket.create_server((_HOST, port), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._server = _AnnouncingServer(_config(app))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    @property
    def base_url(self) -> str:
        """What clients take as OPENAI_BASE_URL."""
        return f"http://{_HOST}:{self.port}{ROOT}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._server.is_up.wait(_START_SECONDS):
            raise RuntimeError(f"the local server on port {self.port} did not start")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def serve(app: Any, port: int, *, on_bound: Callable[[int], None]) -> None:
    """Serve on the loopback address until interrupted; `on_bound` gets the port that was taken.

    Raises:
        OSError: the port cannot be used.
    """
    with socket.create_server((_HOST, port), backlog=512) as bound:
        on_bound(bound.getsockname()[1])
        uvicorn.Server(_config(app)).run([bound])


class _AnnouncingServer(uvicorn.Server):
    """Says when it answers, so that starting needs no polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


def _config(app: Any) -> uvicorn.Config:
    """Quiet, and without uvicorn's own Date: the app's is the source's time, not this machine's."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
