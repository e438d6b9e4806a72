"""The service as it is met: some requests fail in one of six ways, and during an outage all are refused.

Put what a request can meet here. It wraps the whole served app, so that connections break on the socket itself.
"""

import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

_STATUSES = {"429": 429, "500": 500, "503": 503}
_WAYS = ("429", "429 with Retry-After", "500", "503", "reset", "truncated")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Wire:
    """An ASGI app before the service."""

    def __init__(self, app: Any, seed: int, failing_share: float, is_out: Callable[[], bool]) -> None:
        self._app = app
        self._failing_share = failing_share
        self._rng = random.Random(f"wire {seed}")
        self._is_out = is_out
        self.is_calm = False
        self.seen: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or fail."""
        way = self._way()
        self.seen[way] += 1
        if way in ("well", "truncated"):
            await self._app(scope, receive, send if way == "well" else _Cut(send))
        elif way == "reset":
            _transport(send, is_reset=True).abort()
        else:
            headers = [(b"retry-after", b"1")] if way.endswith("Retry-After") else []
            await send({"type": "http.response.start", "status": _STATUSES.get(way[:3], 503), "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": {"message": "busy"}}'})

    def _way(self) -> str:
        if self.is_calm:
            return "well"
        if self._is_out():
            return "outage"
        return self._rng.choice(_WAYS) if self._rng.random() < self._failing_share else "well"


class _Cut:
    """Sends the first half of a body and hangs up."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._is_cut = False

    async def __call__(self, message: Any) -> None:
        if self._is_cut:
            return
        if message["type"] == "http.response.body":
            self._is_cut = True
            half = message["body"][: len(message["body"]) // 2]
            await self._send({"type": "http.response.body", "body": half, "more_body": True})
            _transport(self._send).close()
        else:
            await self._send(message)


def _transport(send: Any, *, is_reset: bool = False) -> Any:
    """The connection of uvicorn's outermost `send`: below HTTP there is no other way to it from an app."""
    transport = send.__self__.transport
    if is_reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return transport
