"""The far side for client tests: pages made by hand and a transport that answers from a script.

Put helpers shared by the tests of the wire here; no test and no assertion.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from usage_pipeline.api.client import UsageClient
from usage_pipeline.api.transport import RetryPolicy
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.records import WindowRead
from usage_pipeline.windows import Window

KEY = "sk-admin-canary-0123456789"
BASE_URL = "https://api.example/v1"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = 86400
GOLDEN_PAGES = Path(__file__).parent / "golden" / "pages"

COMPLETIONS = ENDPOINTS["completions"]
COSTS = ENDPOINTS["costs"]

Step = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def days(first: str, end: str) -> Window:
    """The window of days `[first, end)` written YYYY-MM-DD."""
    return Window.of_days(date.fromisoformat(first), date.fromisoformat(end))


WEEK = days("2026-11-01", "2026-11-08")


def completion(**fields: Any) -> dict[str, Any]:
    """A completions result with the required fields."""
    required = {"object": COMPLETIONS.result_object, "input_tokens": 5, "output_tokens": 3, "num_model_requests": 1}
    return required | fields


def bucket(start: int, *results: dict[str, Any], width: int = DAY, end: int | None = None) -> dict[str, Any]:
    """A bucket as the wire has it."""
    return {"object": "bucket", "start_time": start, "end_time": end or start + width, "results": list(results)}


def buckets(window: Window, width: int = DAY) -> list[dict[str, Any]]:
    """Every bucket of a window, one result in each that tells them apart."""
    starts = range(window.start_time, window.end_time, width)
    return [bucket(start, completion(input_tokens=start), width=width) for start in starts]


def page(data: Iterable[dict[str, Any]], cursor: str | None = None, **fields: Any) -> dict[str, Any]:
    """A page; with a cursor there are more."""
    return {"object": "page", "data": list(data), "has_more": cursor is not None, "next_page": cursor} | fields


def body(document: Any) -> bytes:
    """A document as a response body."""
    return json.dumps(document).encode()


def ok(document: Any, **headers: str) -> httpx.Response:
    """A 200 with a JSON body."""
    return httpx.Response(200, content=body(document), headers={"content-type": "application/json"} | headers)


def error(status: int, message: str, **fields: Any) -> httpx.Response:
    """An error answer in the documented form."""
    return httpx.Response(status, json={"error": {"message": message, "type": "invalid_request_error"} | fields})


def asked(request: httpx.Request) -> Window:
    """The window a request asks for."""
    return Window.of_times(int(request.url.params["start_time"]), int(request.url.params["end_time"]))


def whole(request: httpx.Request) -> httpx.Response:
    """Answers any daily window completely, in one page."""
    name = request.url.path.rsplit("/", 1)[-1]
    if name == "completions":
        return ok(page(buckets(asked(request))))
    starts = range(asked(request).start_time, asked(request).end_time, DAY)
    return ok(page(bucket(start) for start in starts))


@dataclass
class Script(httpx.AsyncBaseTransport):
    """Answers the steps in order (the last one for ever), and keeps the requests and the virtual sleeps."""

    steps: list[Step]
    requests: list[httpx.Request] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    now: datetime = NOW

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The next step."""
        await asyncio.sleep(0)
        step = self.steps[min(len(self.requests), len(self.steps) - 1)]
        self.requests.append(request)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, headers=step.headers, stream=httpx.ByteStream(step.content))
        return step(request)

    async def sleep(self, seconds: float) -> None:
        """Virtual waiting: the clock moves."""
        self.sleeps.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    def client(self, **options: Any) -> UsageClient:
        """A client that talks to this script and never really waits."""
        defaults: dict[str, Any] = {
            "base_url": BASE_URL,
            "key": SecretStr(KEY),
            "transport": self,
            "clock": lambda: self.now,
            "sleep": self.sleep,
            "rng": random.Random(7),
            "monotonic": lambda: self.now.timestamp(),
            "policy": RetryPolicy(attempts=4),
        }
        return UsageClient(**(defaults | options))

    def params(self, number: int) -> list[tuple[str, str]]:
        """The query pairs of a request."""
        return self.requests[number].url.params.multi_items()


def script(*steps: Step, **fields: Any) -> Script:
    """A script of these steps."""
    return Script(list(steps), **fields)


_CLIENT_OPTIONS = ("policy", "concurrency", "key", "base_url", "transport")


def read(
    far_side: Script, window: Window = WEEK, endpoint: Endpoint = COMPLETIONS, *, width: str = "1d", **options: Any
) -> WindowRead | None:
    """One `read_window` against a script."""
    client_options = {name: options.pop(name) for name in _CLIENT_OPTIONS if name in options}

    async def run() -> WindowRead | None:
        async with far_side.client(**client_options) as client:
            return await client.read_window(endpoint, window, bucket_width=width, **options)  # type: ignore[arg-type]

    return asyncio.run(run())


def read_finest(far_side: Script, window: Window = WEEK, endpoint: Endpoint = COSTS) -> list[WindowRead]:
    """One `read_finest` against a script."""

    async def run() -> list[WindowRead]:
        async with far_side.client() as client:
            return await client.read_finest(endpoint, window, bucket_width="1d")

    return asyncio.run(run())
