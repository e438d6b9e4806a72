"""A server on loopback that misbehaves below HTTP: raw sockets, one play per connection.

Put ways a wire can go wrong here; no test and no assertion. Nothing in it waits for luck: a play that never ends lasts
until the client goes away or the server closes.
"""

import contextlib
import gzip
import select
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from usage_pipeline_tests.scripted import body, bucket, page

_TICK_SECONDS = 0.01
_GOODBYE_SECONDS = 5.0


@dataclass
class Wire:
    """One accepted connection with the request that came over it."""

    socket: socket.socket
    head: bytes
    closing: threading.Event

    def send(self, data: bytes) -> None:
        """Send, however little the client takes; a client that has gone is no error."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def respond(self, content: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> None:
        """A response whose Content-Length is that of the content, or a lie."""
        size = len(content) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"content-length: {size}", "connection: close", *headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content)

    @property
    def has_client(self) -> bool:
        """Whether the client is still there; waits a tick."""
        if self.closing.wait(0):
            return False
        readable, _, _ = select.select([self.socket], [], [], _TICK_SECONDS)
        if not readable:
            return True
        try:
            return bool(self.socket.recv(4096))
        except OSError:
            return False

    def hang(self) -> None:
        """Say no more until the client goes away."""
        while self.has_client:
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Play = Callable[[Wire], None]


@dataclass
class FaultServer:
    """Plays the steps connection by connection, the last one for ever; keeps every request as it came."""

    plays: list[Play]
    heads: list[bytes] = field(default_factory=list)
    _closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _socket: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._socket.getsockname()[1])

    @property
    def base_url(self) -> str:
        """What to set OPENAI_BASE_URL to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Accept connections on a thread of its own."""
        self._spawn(self._accept)

    def stop(self) -> None:
        """Let every play end."""
        self._closing.set()
        with contextlib.suppress(OSError):  # wakes the accept
            socket.create_connection(("127.0.0.1", self.port), timeout=_GOODBYE_SECONDS).close()
        for thread in self._threads:
            thread.join(_GOODBYE_SECONDS)
        self._socket.close()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            connection, _ = self._socket.accept()
            if not self._closing.is_set():
                self._spawn(self._serve, connection)
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = _head(connection)
            if not head:
                return
            with self._lock:
                play = self.plays[min(len(self.heads), len(self.plays) - 1)]
                self.heads.append(head)
            play(Wire(connection, head, self._closing))


def _head(connection: socket.socket) -> bytes:
    """The request up to its empty line."""
    connection.settimeout(_GOODBYE_SECONDS)
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            return b""
        head += data
    return head


@contextmanager
def faulty(*plays: Play) -> Iterator[FaultServer]:
    """Serve the plays while the block runs."""
    server = FaultServer(list(plays))
    server.start()
    try:
        yield server
    finally:
        server.stop()


# Good answers


def asked(wire: Wire) -> tuple[int, int]:
    """The window a request asks for, in unix seconds."""
    query = dict(
        pair.split("=", 1) for pair in wire.head.split(b" ", 2)[1].decode().partition("?")[2].split("&") if "=" in pair
    )
    return int(query["start_time"]), int(query["end_time"])


def empty_days(wire: Wire) -> bytes:
    """A whole page for the asked days, each without results."""
    return body(page(bucket(start) for start in range(*asked(wire), 86400)))


def good(wire: Wire) -> None:
    """The whole page."""
    wire.respond(empty_days(wire), "content-type: application/json")


def answering(document: object, *headers: str) -> Play:
    """A play that answers 200 with this document, whatever was asked."""
    return lambda wire: wire.respond(body(document), "content-type: application/json", *headers)


# Ways to go wrong


def hang(wire: Wire) -> None:
    """Take the request and never answer."""
    wire.hang()


def drip(wire: Wire) -> None:
    """A byte at a time, never idle for long, never done."""
    wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
    while wire.has_client:
        wire.send(b" ")


def drip_head(wire: Wire) -> None:
    """A response head that never ends, a byte at a time."""
    wire.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while wire.has_client:
        wire.send(b"a")


def truncated(wire: Wire) -> None:
    """Half of the promised Content-Length."""
    content = empty_days(wire)
    wire.respond(content[: len(content) // 2], length=len(content))


def half_chunked(wire: Wire) -> None:
    """A chunk is promised longer than it comes."""
    wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n" + empty_days(wire)[:20])


def no_last_chunk(wire: Wire) -> None:
    """Everything is there but the chunk that says so."""
    content = empty_days(wire)
    wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(content), content))


def early_close(wire: Wire) -> None:
    """No Content-Length, and the connection closes in the middle."""
    wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n" + empty_days(wire)[:60])


def reset_before(wire: Wire) -> None:
    """RST instead of an answer."""
    wire.reset()


def reset_within(wire: Wire) -> None:
    """RST in the middle of the body."""
    wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + empty_days(wire)[:20])
    wire.reset()


def zipped(change: Callable[[bytes], bytes]) -> Play:
    """A gzip body after a change, with the Content-Length of what is sent."""
    return lambda wire: wire.respond(change(gzip.compress(empty_days(wire))), "content-encoding: gzip")


cut_gzip = zipped(lambda packed: packed[: len(packed) // 2])
cut_gzip_trailer = zipped(lambda packed: packed[:-8])  # every byte of the page is there, its checksum is not
bad_gzip_header = zipped(lambda packed: b"\0\0" + packed[2:])
bad_gzip_checksum = zipped(lambda packed: packed[:-8] + b"\1\2\3\4" + packed[-4:])


def bomb(mebibytes: int) -> Play:
    """A gzip body a thousandth of what it unpacks to; never whole in memory here either."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(b" " * 1024 * 1024) for _ in range(mebibytes)) + packer.flush()
    return lambda wire: wire.respond(packed, "content-encoding: gzip", "content-type: application/json")


def html(status: str) -> Play:
    """A page for people, with any status."""
    return lambda wire: wire.respond(b"<html><h1>Busy</h1>\n</html>", "content-type: text/html", status=status)


def redirect(status: int, target: str) -> Play:
    """To another address."""
    return lambda wire: wire.respond(b"", f"location: {target}", status=f"{status} Elsewhere")


def huge_headers(wire: Wire) -> None:
    """A megabyte of headers before a good page."""
    wire.respond(empty_days(wire), *(f"x-{n}: {'h' * 1000}" for n in range(1000)))


def http_1_0(wire: Wire) -> None:
    """The old protocol: no length, the end of the connection is the end of the page."""
    wire.send(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + empty_days(wire))


def garbage(wire: Wire) -> None:
    """Something that is not HTTP."""
    wire.send(b"\x16\x03\x01 220 smtp.example ESMTP\r\n\r\n")


def empty_reply(_wire: Wire) -> None:
    """The connection is closed without a byte."""
