"""Trouble on request: an ASGI wrapper that answers some requests as a busy or broken service does.

Put answers that have nothing to do with the query here; refusals of a query belong to `usage_pipeline.api`.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from usage_pipeline.simulator.chance import chance

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_MESSAGES = {
    429: "Rate limit reached for requests.",
    500: "The server had an error while processing your request.",
    503: "The engine is currently overloaded, please try again later.",
}
_RETRY_AFTER_SECONDS = 1


class FaultInjector:
    """Fails a share of requests, `rate` between 0 and 1, in an order set by the seed."""

    def __init__(self, app: App, *, rate: float, seed: int) -> None:
        self._app = app
        self._rate = rate
        self._random = chance(seed, "faults")

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer as broken, or pass the request on."""
        if scope["type"] == "http" and self._random.random() < self._rate:
            await _fail(send, self._random.choice(list(_MESSAGES)), says_when=self._random.random() < 0.5)
        else:
            await self._app(scope, receive, send)


async def _fail(send: Callable[[Message], Awaitable[None]], status: int, *, says_when: bool) -> None:
    """Answer with the status; a 429 may leave out when to come back, as the real one may."""
    error = {"message": _MESSAGES[status], "type": "server_error" if status >= 500 else "requests", "param": None}
    headers = [(b"content-type", b"application/json")]
    if status == 429 and says_when:
        headers.append((b"retry-after", str(_RETRY_AFTER_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": {**error, "code": None}}).encode()})
