"""One request made reliable: attempts, waits, deadlines, a size cap, and the key in one header only.

Put how a GET is sent, retried and bounded here; what is asked is page_query.py's, what a refusal means
error_answers.py's, what a body means models.py's. `sleep`, `clock` and `rng` are arguments so that tests never wait.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import httpx
from pydantic import SecretStr

from usage_pipeline.api.body import UnusableBody, read_body
from usage_pipeline.api.connection import connections
from usage_pipeline.api.error_answers import USAGE, Purpose, quoted, refusal
from usage_pipeline.api.headers import retry_after, served_at
from usage_pipeline.api.models import NotJson
from usage_pipeline.errors import BadPayload, FixConfig, PageTooLarge, PermissionRefused, RateLimited, RetryLater
from usage_pipeline.memory import give_memory_back
from usage_pipeline.records import RawPage
from usage_pipeline.redaction import forms_of, redacted
from usage_pipeline.spool import Kept, held

T = TypeVar("T")

_TELLING_CHARS = 16  # a key this long is in a body by no chance; real ones have over a hundred characters
_ERROR_BODY_BYTES = 64 * 1024
_ASIDE_BYTES = 256 * 1024  # a body this large takes milliseconds to read


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often, how long and how much; every request is bounded by it. Times are seconds.

    Waits are full-jitter exponential: uniform between 0 and `first_delay` doubled per attempt, at most `max_delay`;
    a Retry-After, at most `max_retry_after`, comes first and the jitter after it. `request_deadline` is wall clock for
    one attempt up to its last byte: an idle timeout alone never ends a body that drips. `total_deadline` is wall clock
    for everything a client reads, waits included: a first sync of a year takes minutes to an hour.
    """

    attempts: int = 6
    first_delay: float = 0.5
    max_delay: float = 30.0
    max_retry_after: float = 120.0
    request_deadline: float = 120.0
    total_deadline: float = 6 * 3600.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    max_body_bytes: int = 256 * 1024 * 1024

    def delay(self, attempt: int, asked: float | None, rng: random.Random) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1); `asked` is the service's Retry-After."""
        jitter = rng.uniform(0, min(self.max_delay, self.first_delay * 2 ** (attempt - 1)))
        return jitter if asked is None else min(asked, self.max_retry_after) + jitter


@dataclass(slots=True)
class Tally:
    """Counts what a read cost: every request sent, and how many of them were repeats."""

    requests: int = 0
    retries: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Generic[T]):
    """A body read successfully; `served_at` is the service's clock (its Date header), where it gave one."""

    value: T
    raw: RawPage
    served_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Received:
    """One complete HTTP answer."""

    status: int
    headers: httpx.Headers
    body: bytes
    request: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fault:
    """An attempt that may be repeated: the error it becomes when it was the last, and the wait asked for."""

    error: RetryLater | BadPayload
    seconds: float | None = None


class Transport:
    """Sends GETs to one origin with one key, at most `concurrency` at a time.

    A request that waits to be repeated keeps its slot: under a rate limit fewer are sent, not more. Once the key was
    refused for a purpose nothing more is sent for it; a key may read usage and no names.

    Raises:
        FixConfig: the key or the base URL cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: SecretStr,
        concurrency: int,
        policy: RetryPolicy,
        transport: httpx.AsyncBaseTransport | None,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[object]],
        rng: random.Random | None,
        monotonic: Callable[[], float],
        keep: Callable[[bytes], Kept] = held,
    ) -> None:
        self._key = key
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._slots = asyncio.Semaphore(concurrency)
        self._large = asyncio.Lock()
        self._keep = keep
        self._refused: dict[str, str] = {}
        self._monotonic = monotonic
        self._ends_at: float | None = None
        timeout = httpx.Timeout(policy.read_timeout, connect=policy.connect_timeout)
        self._http = connections(base_url, key, concurrency=concurrency, timeout=timeout, transport=transport)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(
        self,
        path: str,
        params: Sequence[tuple[str, str]],
        *,
        where: str,
        read: Callable[[bytes], T],
        tally: Tally,
        purpose: Purpose = USAGE,
    ) -> Answer[T]:
        """Send until a body is read, the attempts are used up, or the answer is not worth another.

        Args:
            path: Below the base URL.
            params: The query string's pairs.
            where: What to call the request in errors.
            read: Makes the value of a 200's body; its NotJson is taken for a transport fault and retried.
            tally: Counts requests and retries.
            purpose: What the key needs for it; a refusal holds for the purpose.

        Raises:
            RateLimited: 429 until the last attempt; `seconds` is what the service asked for.
            RetryLater: no usable answer until the last attempt or the client's deadline.
            PermissionRefused: 401 or 403, now or earlier with this key.
            SourceChanged: any other answer the contract does not allow.
        """
        async with self._slots:
            attempt = 0
            while True:
                if purpose.name in self._refused:
                    raise PermissionRefused(self._refused[purpose.name])
                if self._left() <= 0:
                    raise RetryLater(self._too_late(where))
                attempt += 1
                tally.requests += 1
                tally.retries += attempt > 1
                outcome = await self._attempt(path, params, where, read, purpose)
                if not isinstance(outcome, _Fault):
                    return outcome
                if attempt >= self._policy.attempts:
                    raise outcome.error
                wait = self._policy.delay(attempt, outcome.seconds, self._rng)
                if wait >= self._left():
                    raise RetryLater(self._too_late(where), seconds=outcome.seconds)
                await self._sleep(wait)

    def _left(self) -> float:
        """Seconds until all that this client reads must be done; they count from its first request."""
        now = self._monotonic()
        if self._ends_at is None:
            self._ends_at = now + self._policy.total_deadline
        return self._ends_at - now

    async def _attempt(
        self, path: str, params: Sequence[tuple[str, str]], where: str, read: Callable[[bytes], T], purpose: Purpose
    ) -> Answer[T] | _Fault:
        """One request; what may be repeated comes back as a fault, what may not is raised."""
        async with AsyncExitStack() as turn:  # a large body has its turn until it is read: memory is for a few
            received = await self._exchange(path, params, where, turn)
            if isinstance(received, _Fault):
                return received
            if received.status == 200 and len(received.body) < _ASIDE_BYTES:
                return self._read(received, read, where)
            if received.status == 200:
                answer = await asyncio.to_thread(self._read, received, read, where)  # others go on receiving
                give_memory_back()
                return answer
        if received.status in (408, 429) or received.status >= 500:
            return self._busy(received, where)
        group_by = [value for name, value in params if name == "group_by[]"]
        key = self._key.get_secret_value()
        error = refusal(where, received.status, received.body, key=key, group_by=group_by, purpose=purpose)
        if isinstance(error, PermissionRefused):
            self._refused[purpose.name] = str(error)
        raise error

    async def _exchange(
        self, path: str, params: Sequence[tuple[str, str]], where: str, turn: AsyncExitStack
    ) -> _Received | _Fault:
        """Send and receive within the deadline. Errors are made after the handlers: theirs could hold the header."""
        seconds = min(self._policy.request_deadline, self._left())
        try:
            async with asyncio.timeout(seconds):
                return await self._receive(path, params, where, turn)
        except TimeoutError:
            problem = f"no complete answer within {seconds:g} s"
        except httpx.InvalidURL:
            problem = ""
        except httpx.RequestError as wrong:
            problem = f"{type(wrong).__name__}: {quoted(str(wrong), self._key.get_secret_value())}".rstrip(": ")
        if not problem:
            raise FixConfig(f"{where}: the request's address is too long or malformed; use fewer filter values.")
        if "CERTIFICATE_VERIFY_FAILED" in problem:
            raise FixConfig(f"{where}: the server's certificate is not trusted ({problem}); check OPENAI_BASE_URL.")
        return _Fault(error=RetryLater(self._given_up(where, problem)))

    async def _receive(
        self, path: str, params: Sequence[tuple[str, str]], where: str, turn: AsyncExitStack
    ) -> _Received:
        async with self._http.stream("GET", path, params=list(params)) as response:
            is_page = response.status_code == 200
            limit = self._policy.max_body_bytes if is_page else _ERROR_BODY_BYTES
            try:
                body, is_whole = await read_body(response, limit, lambda: turn.enter_async_context(self._large))
            except (UnusableBody, httpx.DecodingError) as wrong:
                if not is_page:
                    body, is_whole = b"", False  # of an error the status says enough
                elif isinstance(wrong, UnusableBody):
                    raise BadPayload(f"{where}: {wrong}; nothing of this read was kept.") from None
                else:
                    raise
            if is_page and not is_whole:
                raise PageTooLarge(f"{where}: the body exceeds {limit:,} bytes; nothing of this read was kept.")
            target = response.request.url.raw_path.decode("ascii")
            return _Received(status=response.status_code, headers=response.headers, body=body, request=target)

    def _read(self, received: _Received, read: Callable[[bytes], T], where: str) -> Answer[T] | _Fault:
        """The value of a 200's body. A BadPayload's text is made again: it may quote what the service echoed."""
        key = self._key.get_secret_value()
        if len(key) >= _TELLING_CHARS and any(form.encode() in received.body for form in forms_of(key)):
            raise BadPayload(f"{where}: the answer repeats the admin key; nothing of it was kept or will be shown.")
        try:
            value = read(received.body)
        except BadPayload as wrong:
            problem, is_fault = redacted(str(wrong), [key]), isinstance(wrong, NotJson)
        else:
            raw = RawPage.of(received.request, self._clock(), received.body, self._keep)
            return Answer(value=value, raw=raw, served_at=served_at(received.headers))
        if not is_fault:
            raise BadPayload(problem)
        kind = quoted(received.headers.get("content-type", "none"), key)
        start = quoted(received.body[:_ERROR_BODY_BYTES].decode("utf-8", "replace"), key)
        problem = (
            f"{problem} Status 200, content type {kind}, beginning: {start!r}. Tried {self._policy.attempts} times."
        )
        return _Fault(error=BadPayload(problem))

    def _busy(self, received: _Received, where: str) -> _Fault:
        seconds = retry_after(received.headers, self._clock())
        if received.status != 429:
            problem = f"status {received.status}"
            return _Fault(error=RetryLater(self._given_up(where, problem), seconds=seconds), seconds=seconds)
        asked = f", the service asks for {seconds:.0f} s" if seconds is not None else ""
        problem = self._given_up(where, f"rate limited (429){asked}")
        return _Fault(error=RateLimited(problem, seconds=seconds), seconds=seconds)

    def _too_late(self, where: str) -> str:
        return (
            f"{where}: the {self._policy.total_deadline:g} s one sync may take are over; nothing of this read was "
            "kept. Run again later, or read fewer days at once with --since and --until."
        )

    def _given_up(self, where: str, problem: str) -> str:
        return f"{where}: {problem}; gave up after {self._policy.attempts} attempts. Nothing was kept; run again later."
