"""An S3 server on loopback, which answers one request after another: of two conditional puts one comes first.

moto looks whether an object is there, and then writes it; real stores do both at once. One request at a time makes it
the same, and lets a test look at requests, or spoil them.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Respond = Callable[..., Any]
Application = Callable[[dict[str, Any], Respond], Iterable[bytes]]


@dataclass
class Bucket:
    """A bucket of one test: its URL, what was asked, and what happens to requests."""

    endpoint: str
    name: str
    asked: Counter[str] = field(default_factory=Counter)
    spoil: Callable[[dict[str, Any], Application], Application] | None = None
    """Gives what is to answer a request instead: another application, or the same after something happened."""

    @property
    def url(self) -> str:
        """A place for a lake in it."""
        return f"s3://{self.name}/team/usage"

    def create(self) -> None:
        """Make it."""
        urlopen(Request(f"{self.endpoint}/{self.name}", method="PUT")).close()  # noqa: S310 - loopback

    def store(self) -> Any:
        """Its objects under the URL, for a test to look at and to damage."""
        from obstore.store import from_url

        return from_url(self.url, client_options={"allow_http": True})

    def keys(self, folder: str = "") -> set[str]:
        """The keys of all objects under the URL."""
        import obstore

        return {one["path"] for page in obstore.list(self.store(), folder or None) for one in page}


class S3Server:
    """moto's server; each bucket's requests are counted, and spoilt as its test says."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._turn = threading.Lock()
        self.buckets: dict[str, Bucket] = {}
        self.endpoint = ""

    def __call__(self, request: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        """Answer one request."""
        bucket = self.buckets.get(request["PATH_INFO"].split("/")[1])
        answer: Application = self._moto
        with self._turn:
            if bucket is not None:
                kind = "LIST" if "list-type" in request["QUERY_STRING"] else request["REQUEST_METHOD"]
                bucket.asked[kind] += 1
                answer = answer if bucket.spoil is None else bucket.spoil(request, answer)
            return list(answer(request, respond))

    def bucket(self) -> Bucket:
        """A new bucket."""
        bucket = Bucket(self.endpoint, f"bucket-{len(self.buckets)}")
        self.buckets[bucket.name] = bucket
        bucket.create()
        return bucket


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve while the block runs."""
    server = S3Server()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    listening = make_server("127.0.0.1", 0, server, threaded=True)
    server.endpoint = f"http://127.0.0.1:{listening.port}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def losing_answers(count: int, wanted: str) -> Callable[[dict[str, Any], Application], Application]:
    """So many puts of such a key are done, and the answer to each is an error: whoever asked cannot know."""
    left = [count]

    def spoil(request: dict[str, Any], answer: Application) -> Application:
        if request["REQUEST_METHOD"] != "PUT" or wanted not in request["PATH_INFO"] or not left[0]:
            return answer
        left[0] -= 1

        def lose(asked: dict[str, Any], respond: Respond) -> Iterable[bytes]:
            list(answer(asked, lambda *_: None))
            return failing("503 Slow Down", "SlowDown")(asked, respond)

        return lose

    return spoil


def failing(status: str, code: str) -> Application:
    """An application that answers as S3 does when it refuses."""

    def answer(_request: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        respond(status, [("Content-Type", "application/xml")])
        return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()]

    return answer
