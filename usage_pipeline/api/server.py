"""The served side of the contract: an ASGI app that answers every row of the two tables from a source.

Put routes, keys and headers here; what a query may say is `usage_pipeline.api.query`, how an answer is written
`usage_pipeline.api.encoding`, and where buckets and names come from is not known here at all.
Lists of names are `usage_pipeline.api.name_query`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from email.utils import format_datetime
from itertools import count
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usage_pipeline.api.cursor import write_cursor
from usage_pipeline.api.encoding import page_text
from usage_pipeline.api.name_query import NameSource, list_answer, parse_name_query, single_answer
from usage_pipeline.api.query import BucketSource, check_availability, page_bounds, parse_query
from usage_pipeline.api.refusals import Refusal, missing_scope, refusal
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.name_lists import LISTS, NameList

ROOT = "/v1"
_KEY_PREFIX = "sk-admin-"
_SCOPELESS = {"noscope403": 403, "noscope": 401}  # a key that holds the word is answered as one without the scope
_NAMELESS = {**_SCOPELESS, "nonames": 403}  # a key that holds this word reads usage and no names
_GZIP_LEVEL = 1  # answers stay on one machine: spend the time elsewhere


class Source(BucketSource, NameSource, Protocol):
    """Where everything that is served comes from."""


def create_app(
    source: Source,
    *,
    delay_seconds: float = 0.0,
    history_days: int | None = None,
    refuses_user_with_project: bool = False,
    faults: Callable[[ASGIApp], ASGIApp] | None = None,
) -> Starlette:
    """An app that serves every endpoint, and every list of names, from the source.

    Args:
        source: Where buckets, names and the present time come from.
        delay_seconds: How long each answer takes at least.
        history_days: How far back a start may lie; None for no limit.
        refuses_user_with_project: Whether costs by user together with project are refused, as for some organizations.
        faults: Wraps the app with one that misbehaves; its answers carry the usual headers too.
    """

    def answerer(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            _check_key(request, _SCOPELESS, "api.usage.read")
            if delay_seconds > 0:
                await asyncio.sleep(delay_seconds)
            now = int(source.now().timestamp())
            query = parse_query(endpoint, request.query_params.multi_items())
            check_availability(
                query, now, history_days=history_days, refuses_user_with_project=refuses_user_with_project
            )
            bounds, next_start = page_bounds(query, now)
            next_page = None if next_start is None else write_cursor(now, query.fingerprint, next_start)
            results = source.results(query, bounds)
            return Response(page_text(endpoint, bounds, results, next_page), media_type="application/json")

        return answer

    def lister(names: NameList) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            _check_key(request, _NAMELESS, "api.management.read")
            if delay_seconds > 0:
                await asyncio.sleep(delay_seconds)
            project, parameters = request.path_params.get("project_id"), request.query_params.multi_items()
            if names.is_single:
                return JSONResponse(single_answer(names, source, project, parameters))
            return JSONResponse(list_answer(names, source, project, parse_name_query(names, parameters)))

        return answer

    inner = [Middleware(faults)] if faults is not None else []
    return Starlette(
        routes=[
            *(Route(ROOT + row.path, answerer(row), methods=["GET"]) for row in ENDPOINTS.values()),
            *(Route(ROOT + row.path, lister(row), methods=["GET"]) for row in LISTS.values()),
        ],
        middleware=[
            Middleware(_StampHeaders, source=source),
            *inner,
            Middleware(GZipMiddleware, compresslevel=_GZIP_LEVEL),
        ],
        exception_handlers={Refusal: _answer_refusal, HTTPException: _answer_http_error},
    )


class _StampHeaders:
    """Every answer carries the source's time as `Date` (clients decide by it what is closed) and a request id."""

    def __init__(self, app: ASGIApp, source: BucketSource) -> None:
        self._app = app
        self._source = source
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["date"] = format_datetime(self._source.now(), usegmt=True)
                headers["x-request-id"] = f"req_{next(self._numbers):032x}"
            await send(message)

        await self._app(scope, receive, stamped)


def _check_key(request: Request, scopeless: Mapping[str, int], scope: str) -> None:
    """Refuse what is not an admin key; the key is never quoted."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise refusal("Missing bearer authentication in header.", code=None, status=401)
    if not key.startswith(_KEY_PREFIX):
        raise refusal(
            "This endpoint needs an admin key; the key given is of another kind.", code="invalid_api_key", status=401
        )
    for word, status in scopeless.items():
        if word in key:
            raise missing_scope(status, scope)


async def _answer_refusal(_request: Request, error: Any) -> Response:
    return JSONResponse(error.body, status_code=error.status)


async def _answer_http_error(request: Request, error: Any) -> Response:
    told = refusal(f"Invalid URL ({request.method} {request.url.path})", code=None, status=error.status_code)
    return JSONResponse(told.body, status_code=told.status)
