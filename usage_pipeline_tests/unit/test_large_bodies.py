"""Large bodies: read beside the event loop, and one at a time, however many are asked for at once."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from usage_pipeline.api.transport import RetryPolicy, Tally, Transport
from usage_pipeline.windows import utc_now

MIB = 1024 * 1024


class _Body(httpx.AsyncByteStream):
    """So many MiB, a piece at a time; tells how many bodies were being sent at once beyond their first 9 MiB."""

    sending = 0
    most = 0

    def __init__(self, size: int) -> None:
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for sent in range(self._size):
            if sent == 9:
                _Body.sending += 1
                _Body.most = max(_Body.most, _Body.sending)
            await asyncio.sleep(0)
            yield b"x" * MIB
        _Body.sending -= self._size > 9


def read_at_once(count: int, size: int) -> list[int]:
    """Read so many bodies of so many MiB concurrently; the threads they were read in."""

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_Body(size))

    async def all_of_them() -> list[int]:
        transport = Transport(
            base_url="https://api.openai.com/v1",
            key=SecretStr("sk-admin-large"),
            concurrency=count,
            policy=RetryPolicy(),
            transport=httpx.MockTransport(handle),
            clock=utc_now,
            sleep=asyncio.sleep,
            rng=random.Random(1),
            monotonic=lambda: 0.0,
        )

        async def one() -> int:
            answer = await transport.get("/x", [], where="x", read=lambda _: threading.get_ident(), tally=Tally())
            assert answer.raw.size == size * MIB
            return answer.value

        try:
            return await asyncio.gather(*(one() for _ in range(count)))
        finally:
            await transport.aclose()

    return asyncio.run(all_of_them())


@pytest.mark.parametrize(("size", "is_beside"), [(0, False), (1, True)])
def test_only_a_large_body_is_read_beside_the_event_loop(size: int, is_beside: bool) -> None:
    """What takes milliseconds to read goes to a thread, so that the other answers keep coming in."""
    assert (threading.get_ident() not in read_at_once(1, size)) is is_beside


def test_bodies_that_would_fill_memory_take_turns() -> None:
    """Of several large answers one at a time is received to its end and read; all of them arrive."""
    _Body.sending = _Body.most = 0
    assert len(read_at_once(4, 12)) == 4
    assert _Body.most == 1
