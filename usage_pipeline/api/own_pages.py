"""A guard in front of a server on the loopback address: only pages of its own, and programs, may ask it.

A server that asks nobody who they are is still reached by every web page that a browser on this machine shows. Put here
what tells such a page's request from one of the server's own pages; what is served is none of its business.
"""

from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOSTS = {"127.0.0.1", "localhost", "::1"}
_READING = {"GET", "HEAD", "OPTIONS"}
_GRAPHQL = "/graphql"


class OwnPagesOnly:
    """Refuses what a foreign page may have sent, before the app sees it.

    - A Host that is not this machine's: a name of the page's own that was made to lead here (DNS rebinding).
    - A foreign Origin, or Sec-Fetch-Site, on what can change something: POST and its like, and websockets.
    - GraphQL by plain GET, which any link or image can send, and which needs no Origin. The page that explains GraphQL
      is an HTML page and executes nothing by itself.

    Programs (curl, a script) send no Origin and pass.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or let the app answer."""
        problem = _problem(scope) if scope["type"] in ("http", "websocket") else None
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            await PlainTextResponse(f"{problem}\n", status_code=403)(scope, receive, send)


def _problem(scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if _host_of(host) not in _HOSTS:
        return "Refused: this server answers at 127.0.0.1 and localhost only."
    if scope["type"] == "http" and scope["method"] in _READING:
        is_graphql = scope["path"].rstrip("/").endswith(_GRAPHQL)
        if is_graphql and "text/html" not in headers.get("accept", ""):
            return "Refused: ask GraphQL by POST."
        return None
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or not _is_own(headers, host):
        return "Refused: this request comes from a page of another site."
    return None


def _is_own(headers: Headers, host: str) -> bool:
    """Whether every Origin that is named is the address the request was sent to."""
    return all(urlsplit(origin).netloc == host for origin in headers.getlist("origin"))


def _host_of(host: str) -> Any:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # brackets that do not match
        return None
