"""A webhook receiver on loopback, and settings that point at it: for tests of alerts.

Put the receiver here; no test and no assertion.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from usage_pipeline.api.serve import LoopbackServer

SECRET = "T0000-canary-b81f"


@dataclass
class Receiver:
    """Keeps what was posted, and answers with a status of the test's choice."""

    status: int = 200
    location: str | None = None
    posts: list[dict[str, Any]] = field(default_factory=list)
    url: SecretStr = field(default_factory=lambda: SecretStr(""))

    @property
    def texts(self) -> list[str]:
        """The messages."""
        return [post["text"] for post in self.posts]

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """The receiving end."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.posts.append({"method": scope["method"], "path": scope["path"], **json.loads(body or b"{}")})
        headers = [(b"location", self.location.encode())] if self.location else []
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive while the block runs."""
    receiver = Receiver()

    async def app(scope: Any, receive: Any, send: Any) -> None:  # a bound method would look like an older ASGI's app
        await receiver.answer(scope, receive, send)

    with LoopbackServer(app) as server:
        receiver.url = SecretStr(f"http://127.0.0.1:{server.port}/services/{SECRET}")
        yield receiver
