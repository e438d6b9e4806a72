"""The far side of the benchmark: a process that answers with pre-rendered pages as fast as a socket takes them.

    python -m usage_pipeline_tests.benchmarks.server GROUPS [EXTRA_REQUESTS] [SECONDS_PER_ANSWER] [--gzip]
        [--keys N --projects N]

It prints its port. `GET /sums` tells what a day adds up to. Put serving here; the rows are work.py's.
"""

import argparse
import asyncio
import gzip
import json
import sys
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

from usage_pipeline.windows import WIDTH_SECONDS
from usage_pipeline_tests.benchmarks.work import MINUTES, minutes

_MOST_BUCKETS = MINUTES
_NO_NAMES = b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"


class _Pages:
    """Pages of minute buckets; compressed ones are kept, for compressing them would be the bottleneck."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._minutes, self.sums = minutes(asked.groups, asked.extra, asked.keys, asked.projects)
        self._is_zipping = asked.gzip
        self._zipped: dict[str, bytes] = {}
        self.requests = 0

    def is_zipped_for(self, head: bytes) -> bool:
        """Whether who asked takes gzip, and it is to be had."""
        return self._is_zipping and b"gzip" in head.lower()

    def body(self, target: str, *, is_zipped: bool) -> bytes:
        """The answer to a request target."""
        url = urlsplit(target)
        if url.path == "/sums":
            return json.dumps(self.sums).encode()
        if url.path == "/requests":
            return json.dumps(self.requests).encode()
        self.requests += 1
        if is_zipped and target in self._zipped:
            return self._zipped[target]
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if "bucket_width" not in asked:
            return _NO_NAMES
        is_quiet = not url.path.endswith("/usage/completions") or asked["bucket_width"] != "1m"
        body = self._quiet_page(asked) if is_quiet else self._page(asked)
        if is_zipped:
            body = self._zipped[target] = gzip.compress(body, 5)
        return body

    def _quiet_page(self, asked: dict[str, str]) -> bytes:
        """Buckets without results, of any width and endpoint; asked for page-aligned windows only."""
        step = WIDTH_SECONDS[asked["bucket_width"]]
        starts = range(int(asked["start_time"]), int(asked["end_time"]), step)
        buckets = [
            b'{"object":"bucket","start_time":%d,"end_time":%d,"results":[]}' % (start, start + step)
            for start in starts
        ]
        return b'{"object":"page","data":[%s],"has_more":false,"next_page":null}' % b",".join(buckets)

    def _page(self, asked: dict[str, str]) -> bytes:
        first, end = int(asked.get("page", asked["start_time"])), int(asked["end_time"])
        last = min(end, first + 60 * min(int(asked.get("limit", "60")), _MOST_BUCKETS))
        buckets = [
            b'{"object":"bucket","start_time":%d,"end_time":%d,"results":%s}'
            % (start, until, self._minutes[start // 60 % MINUTES])
            for start, until in pairwise(range(first, last + 60, 60))
        ]
        more = b"true" if last < end else b"false"
        cursor = b'"%d"' % last if last < end else b"null"
        return b'{"object":"page","data":[%s],"has_more":%s,"next_page":%s}' % (b",".join(buckets), more, cursor)


async def _serve(pages: _Pages, seconds: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(seconds)
                is_zipped = pages.is_zipped_for(head)
                body = pages.body(head.split(b" ", 2)[1].decode(), is_zipped=is_zipped)
                more = "Content-Encoding: gzip\r\n" if is_zipped else ""
                writer.write(_HEAD.format(more=more, length=len(body)).encode())
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="usage_pipeline_tests.benchmarks.server")
    _parser.add_argument("groups", type=int)
    _parser.add_argument("extra", type=int, nargs="?", default=0)
    _parser.add_argument("seconds", type=float, nargs="?", default=0)
    _parser.add_argument("--gzip", action="store_true")
    _parser.add_argument("--keys", type=int, default=0)
    _parser.add_argument("--projects", type=int, default=0)
    _asked = _parser.parse_args()
    asyncio.run(_serve(_Pages(_asked), _asked.seconds))
