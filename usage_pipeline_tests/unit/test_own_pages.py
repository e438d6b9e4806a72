"""The guard in front of the UI: what a web page of another site can send is refused, what its own pages send passes."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from usage_pipeline.api.own_pages import OwnPagesOnly

HOST = "127.0.0.1:3000"


async def _served(_: Request) -> PlainTextResponse:
    return PlainTextResponse("served")


APP = OwnPagesOnly(Starlette(routes=[Route("/{path:path}", _served, methods=["GET", "POST", "PUT", "DELETE"])]))


def _ask(method: str, path: str = "/graphql", **headers: str) -> int:
    """The status of a request with these headers (underscores for dashes)."""

    async def ask() -> int:
        sent = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP)) as client:
            return (await client.request(method, f"http://{HOST}{path}", headers=sent)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:3000", "LOCALHOST", "[::1]:3000", "127.0.0.1"])
def test_this_machine_by_any_of_its_names_is_answered(host: str) -> None:
    """Its own pages and programs reach the app by all names of the loopback address."""
    assert _ask("POST", host=host) == 200
    assert _ask("POST", host=host, origin=f"http://{host}", sec_fetch_site="same-origin") == 200
    assert _ask("GET", "/runs", host=host, sec_fetch_site="cross-site") == 200  # a link to the UI


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example", "[", "", "10.0.0.1"],
)
def test_f15_another_name_that_leads_here_is_refused(host: str) -> None:
    """A page that had its own name lead to this machine gets nothing, not even by GET."""
    assert _ask("GET", "/", host=host) == 403
    assert _ask("POST", host=host) == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost:3000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=str,
)
def test_f15_another_sites_page_changes_nothing(method: str, headers: dict[str, str]) -> None:
    """A request that a page of another site, or another port, sends is refused, whatever its method."""
    assert _ask(method, **headers) == 403


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_f15_graphql_by_get_is_refused(method: str, path: str) -> None:
    """What a link or an image can send executes nothing; the page that explains GraphQL can still be opened."""
    assert _ask(method, path + "?query=mutation{x}") == 403
    assert _ask("GET", path, accept="text/html,*/*") == 200


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ([(b"host", b"127.0.0.1:3000"), (b"origin", b"http://127.0.0.1:3000")], False),
        ([(b"host", b"127.0.0.1:3000"), (b"origin", b"https://evil.example")], True),
        ([(b"host", b"evil.example")], True),
    ],
)
def test_f15_another_sites_page_opens_no_websocket(headers: list[tuple[bytes, bytes]], is_refused: bool) -> None:
    """A websocket of another site's page is closed before it opens; the UI's own opens."""
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    async def send(message: Any) -> None:
        assert message["type"] == "websocket.close"
        seen.append(None)

    async def receive() -> Any:
        raise AssertionError("nothing is read of a refused websocket")

    scope = {"type": "websocket", "path": "/graphql", "headers": headers}
    asyncio.run(OwnPagesOnly(app)(scope, receive, send))
    assert seen == [None if is_refused else scope]
