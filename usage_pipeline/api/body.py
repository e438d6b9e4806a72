"""A response's body within bounds: never more memory than the limit, never a silently short gzip.

Put receiving and decoding of bodies here; what to do with a fault is transport.py's. httpx's own decoding is not used:
it unpacks a whole chunk at once (64 KiB of gzip can be 64 MiB) and takes a gzip body cut short for a complete one.
"""

import io
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import httpx

_PIECE_BYTES = 1024 * 1024
_LARGE_BYTES = 2 * 1024 * 1024  # of several that wait for their turn, each has this much in memory
_FREE_BYTES = 16 * 1024 * 1024
_MOST_GROWTH = 200  # pages shrink to a tenth or a thirtieth; gzip can do a thousandth
_GZIP = 16 + zlib.MAX_WBITS


class UnusableBody(Exception):
    """A body that is not worth another attempt; the text says what it is."""


async def read_body(
    response: httpx.Response, limit: int, on_large: Callable[[], Awaitable[object]]
) -> tuple[bytes, bool]:
    """The decoded body up to `limit` bytes, and whether that is all of it; `on_large` is awaited once if it is large.

    Raises:
        UnusableBody: it is neither gzip nor plain (gzip in gzip would grow a million-fold), or unpacks like a bomb.
        httpx.DecodingError: the gzip body is damaged or cut short.
        httpx.TransportError: the connection failed.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in ("gzip", "identity"):
        raise UnusableBody("answered in an encoding that was not asked for")
    if response.is_stream_consumed:  # a transport in place of the network hands over the whole, decoded
        return response.content[:limit], len(response.content) <= limit
    decoder = _Gunzip() if encoding == "gzip" else None
    body, received = io.BytesIO(), 0  # unlike a bytearray it gives its bytes away without a copy
    async with aclosing(response.aiter_raw()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            received += len(chunk)
            for piece in (chunk,) if decoder is None else decoder.pieces(chunk):
                size = body.tell() + len(piece)
                if size > limit:
                    body.write(piece[: limit - size])
                    return body.getvalue(), False
                if body.tell() <= _LARGE_BYTES < size:
                    await on_large()
                body.write(piece)
                if size > max(_FREE_BYTES, _MOST_GROWTH * received):
                    raise UnusableBody(f"the body unpacks to more than {_MOST_GROWTH} times what was sent")
    if decoder is not None and not decoder.is_whole:
        raise httpx.DecodingError("the gzip body is cut short")
    return body.getvalue(), True


class _Gunzip:
    """Unpacks one gzip stream in pieces of bounded size."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._has_begun = False

    @property
    def is_whole(self) -> bool:
        """Whether the stream came to its end and its checksum held; a body of no bytes is whole."""
        return self._inflate.eof or not self._has_begun

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk unpacks to; bytes after the end of the stream are ignored, as browsers do."""
        rest = chunk
        while rest and not self._inflate.eof:
            self._has_begun = True
            try:
                piece = self._inflate.decompress(rest, _PIECE_BYTES)
            except zlib.error as damaged:
                raise httpx.DecodingError(str(damaged)) from None
            rest = self._inflate.unconsumed_tail
            yield piece
