"""The wire under every fault of FAULTS' section A, over real sockets: retried, bounded, named, and the key stays home.

What needs no socket is in unit/test_transport.py and unit/test_client.py; README.md here says which row is where.
"""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from usage_pipeline.api.client import UsageClient
from usage_pipeline.api.transport import RetryPolicy
from usage_pipeline.endpoint_sync import EndpointSync
from usage_pipeline.errors import BadPayload, FixConfig, RetryLater, SourceChanged, UsagePipelineError
from usage_pipeline.records import WindowRead
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline_tests.faults import fault_server as wire
from usage_pipeline_tests.faults.fault_server import FaultServer, Play, answering, faulty, good
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.scripted import COMPLETIONS, DAY, KEY, NOW, WEEK, bucket, buckets, page
from usage_pipeline_tests.world import everything, rows

pytestmark = pytest.mark.marts("cost_daily")

IMPATIENT = {"read_timeout": 0.3, "request_deadline": 0.6}  # so short that only faults are meant to meet them


async def no_wait(_seconds: float) -> None:
    """Waits between attempts cost nothing."""


def client_of(base_url: str, **policy: Any) -> UsageClient:
    """The real client, over real sockets."""
    return UsageClient(
        base_url=base_url,
        key=SecretStr(KEY),
        policy=RetryPolicy(**policy),
        clock=lambda: NOW,
        sleep=no_wait,
    )


def read(server: FaultServer | str, **policy: Any) -> WindowRead:
    """A week of completions from a server."""
    base_url = server if isinstance(server, str) else server.base_url

    async def run() -> WindowRead | None:
        async with client_of(base_url, **policy) as client:
            return await client.read_window(COMPLETIONS, WEEK, bucket_width="1d")

    done = asyncio.run(run())
    assert done is not None
    return done


def failure(server: FaultServer | str, kind: type[UsagePipelineError], says: str, **policy: Any) -> UsagePipelineError:
    """The typed error of a read: it names the request, is one line, and neither it nor its chain holds the key."""
    with pytest.raises(kind, match=says) as refused:
        read(server, **{"attempts": 2, **policy})
    assert type(refused.value) is kind
    assert "completions 2026-11-01..2026-11-08" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert KEY not in "".join(traceback.format_exception(refused.value))
    return refused.value


def passes_or_is_named(fault: Play, says: str, kind: type[UsagePipelineError] = RetryLater, **policy: Any) -> None:
    """Once, the fault is retried and the read is whole; for ever, it ends after the attempts in a typed error."""
    with faulty(fault, good) as server:
        done = read(server, attempts=8, **policy)
        assert len(done.buckets) == 7
        assert done.retries >= 1
    with faulty(fault) as server:
        failure(server, kind, says, **policy)
        assert len(server.heads) == 2


# Answers that do not come, or not whole


def test_a09_refused_connection_and_unknown_host() -> None:
    """A closed port, and a host no resolver knows, are retried and then named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failure(f"http://127.0.0.1:{port}/v1", RetryLater, "ConnectError.*gave up after 2 attempts")
    failure("https://no-such-host.invalid/v1", RetryLater, "ConnectError.*gave up after 2 attempts")


def test_a10_no_answer() -> None:
    """A server that takes the request and says nothing ends at the read timeout of each attempt."""
    passes_or_is_named(wire.hang, "ReadTimeout.*gave up after 2 attempts", read_timeout=0.3)


@pytest.mark.parametrize("play", [wire.drip, wire.drip_head], ids=["body", "head"])
def test_a11_slow_drip_ends_at_the_wall_clock(play: Play) -> None:
    """A byte now and then never lets the read timeout fire; the attempt's deadline ends it, in the head too."""
    passes_or_is_named(play, "no complete answer within 0.6 s", **IMPATIENT)


def test_a12_less_than_the_content_length() -> None:
    """A body shorter than it promised is retried and never parsed."""
    passes_or_is_named(wire.truncated, "RemoteProtocolError")


@pytest.mark.parametrize("play", [wire.half_chunked, wire.no_last_chunk])
def test_a13_chunks_without_an_end(play: Play) -> None:
    """A chunked body without its last chunk is retried, even where every byte of the page had come."""
    passes_or_is_named(play, "RemoteProtocolError")


def test_a14_early_close_without_a_length() -> None:
    """Where nothing says how long the body is, half a page is told by not being JSON, and retried."""
    passes_or_is_named(wire.early_close, "not JSON.*Status 200, content type application/json", BadPayload)


@pytest.mark.parametrize("play", [wire.reset_before, wire.reset_within, wire.empty_reply])
def test_a15_reset_connections(play: Play) -> None:
    """RST before or within the body, and a connection closed without a word, are retried."""
    passes_or_is_named(play, "ReadError|RemoteProtocolError")


@pytest.mark.parametrize("play", [wire.cut_gzip, wire.cut_gzip_trailer], ids=["half", "without its checksum"])
def test_a16_gzip_cut_short(play: Play) -> None:
    """A gzip body cut short is a fault even though its Content-Length is right: never a silently short page."""
    passes_or_is_named(play, "DecodingError: the gzip body is cut short")


@pytest.mark.parametrize("play", [wire.bad_gzip_header, wire.bad_gzip_checksum], ids=["header", "checksum"])
def test_a17_damaged_gzip(play: Play) -> None:
    """A gzip body with a wrong header or checksum is retried."""
    passes_or_is_named(play, "DecodingError")


def test_a18_a_decompression_bomb_costs_no_memory() -> None:
    """A quarter of a gigabyte in a quarter of a megabyte is told as such, at once and within 128 MiB."""
    probe = """
import resource, sys
from usage_pipeline.errors import BadPayload
from usage_pipeline_tests.faults import test_wire
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
test_wire.read(sys.argv[1])
before = most()
try:
    test_wire.read(sys.argv[1])
except BadPayload as bomb:
    print(most() - before, bomb)
"""
    with faulty(good, wire.bomb(256)) as server:
        command = [sys.executable, "-c", probe, server.base_url]
        root = Path(__file__).parents[2]
        told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120).stdout
        grown, _, said = told.partition(" ")
        assert "unpacks to more than 200 times what was sent" in said
        assert int(grown) < 128 * 1024 * 1024
        assert len(server.heads) == 2


@pytest.mark.parametrize(
    ("play", "says"),
    [
        (wire.html("200 OK"), "not JSON.*Status 200, content type text/html, beginning: '<html>"),
        (lambda w: w.respond(b""), "the body is empty.*content type none"),
        (lambda w: w.respond(b"\x89PNG\r\n", "content-type: image/png"), "not UTF-8.*content type image/png"),
    ],
    ids=["html", "empty", "image"],
)
def test_a19_a_200_that_is_no_json(play: Play, says: str) -> None:
    """An HTML, empty or foreign 200 is retried, then shown with status, type and beginning."""
    passes_or_is_named(play, says, BadPayload)


@pytest.mark.parametrize("status", ["500 Oops", "502 Bad Gateway", "503 Busy", "504 Late", "520 Odd"])
def test_a05_html_errors_are_busy_answers(status: str) -> None:
    """A proxy's HTML error page is retried like any 5xx."""
    passes_or_is_named(wire.html(status), f"status {status[:3]}; gave up after 2 attempts")


def test_heads_that_are_no_http() -> None:
    """A garbage status line, and a megabyte of headers, are faults of the wire: retried, then named."""
    for play in (wire.garbage, wire.huge_headers):
        passes_or_is_named(play, "RemoteProtocolError")


def test_http_1_0_is_understood() -> None:
    """A server of the old protocol, whose pages end with the connection, can be read."""
    with faulty(wire.http_1_0) as server:
        assert len(read(server).buckets) == 7


# Where the key goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a22_redirects_are_not_followed_anywhere(status: int) -> None:
    """A redirect to another host or to itself is an error at once: the other host sees nothing."""
    with faulty(good) as other:
        with faulty(wire.redirect(status, f"{other.base_url}/organization/usage/completions")) as server:
            failure(server, SourceChanged, f"a redirect \\({status}\\), which is never followed")
            assert len(server.heads) == 1
        with faulty(wire.redirect(status, "/v1/organization/usage/completions"), good) as server:
            failure(server, SourceChanged, "never followed")
            assert len(server.heads) == 1
        assert other.heads == []


def test_a_next_page_that_is_an_address_is_data() -> None:
    """A page cursor that is a URL of another host goes back as a value; nothing is asked of that host."""
    with faulty(good) as other:
        cursor = f"{other.base_url}/organization/usage/completions?page=2"
        data = buckets(WEEK)
        with faulty(answering(page(data[:3], cursor)), answering(page(data[3:]))) as server:
            assert len(read(server).buckets) == 7
            assert b"&page=http%3A%2F%2F127.0.0.1%3A" in server.heads[1]
        assert other.heads == []


@contextlib.contextmanager
def serving_tls(authority: trustme.CA) -> Iterator[tuple[str, list[bytes]]]:
    """An https address whose certificate nobody knows the authority of, and what came over it decrypted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    decrypted: list[bytes] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            decrypted.append(secure.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/v1", decrypted
        thread.join(5)


def test_a23_an_untrusted_certificate_gets_no_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A made-up authority's certificate is refused before the request is sent, also where the environment trusts it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with serving_tls(authority) as (base_url, decrypted):
        failure(base_url, FixConfig, "certificate is not trusted")
    assert b"".join(decrypted) == b""


def test_a24_no_proxy_and_no_netrc_gets_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies of the environment see no request, and a .netrc does not replace the Authorization header."""
    with faulty(good) as proxy, faulty(good) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password other\n")
        (tmp_path / "netrc").chmod(0o600)
        assert len(read(server).buckets) == 7
        assert proxy.heads == []
        assert f"Authorization: Bearer {KEY}\r\n".encode() in server.heads[0]


# What a sync makes of it, down to the lake

VECTOR_STORES = choose_endpoints(["vector_stores"])
RESULT = {"object": "organization.usage.vector_stores.result", "project_id": "p"}


def _days(value: int | None) -> list[dict[str, Any]]:
    """The week with this value on each day; None for days without results."""
    results = [] if value is None else [RESULT | {"usage_bytes": value}]
    return [bucket(start, *results) for start in range(WEEK.start_time, WEEK.end_time, DAY)]


class _Service:
    """Syncs a week of one endpoint from a fault server, a minute later each time."""

    def __init__(self, server: FaultServer, settings: Settings) -> None:
        self._server, self.settings, self._now = server, settings, NOW

    def sync(self, *plays: Play) -> EndpointSync:
        self._now += timedelta(minutes=1)
        self._server.heads.clear()
        self._server.plays = list(plays)
        now = self._now

        def make(settings: Settings) -> UsageClient:
            return UsageClient(
                base_url=settings.base_url,
                key=settings.require_key(),
                policy=RetryPolicy(attempts=2),
                clock=lambda: now,
                sleep=no_wait,
            )

        report = sync(self.settings, VECTOR_STORES, WEEK, clock=lambda: now, client_factory=make)
        return report.endpoints[0]


@pytest.fixture
def service(data_dir: Path) -> Iterator[_Service]:
    """A lake that holds a week, and its service."""
    with faulty(good) as server:
        service = _Service(server, played_settings(data_dir, OPENAI_BASE_URL=server.base_url))
        assert service.sync(answering(page(_days(5)))).error is None
        yield service


NOT_A_PAGE: dict[str, tuple[Play, ...]] = {
    "data_null": (answering({"object": "page", "data": None, "has_more": False, "next_page": None}),),
    "data_empty": (answering(page([])),),
    "error_with_200": (answering({"error": {"message": "try later"}}),),
    "bare_error_with_200": (answering({"error": "no"}),),
    "results_null": (answering(page([b | {"results": None} for b in _days(1)])),),
    "a_day_missing": (answering(page(_days(1)[:3] + _days(1)[4:])),),
    "second_page_fails": (answering(page(_days(1)[:3], "page_b")), wire.html("500 Oops")),
    "second_page_differs": (answering(page(_days(1)[:4], "page_b")), answering(page(_days(2)[3:]))),
    "cursors_in_a_circle": (answering(page(_days(1)[:3], "page_b")),),
    "cut": (wire.truncated,),
    "list": (answering([]),),
    "null": (answering(None),),
    "day_beside_the_window": (answering(page([*_days(1)[:6], bucket(WEEK.end_time)])),),
}


def test_nothing_but_whole_pages_changes_a_stored_window(service: _Service) -> None:
    """`data: null`, `data: []`, an error in a 200 and every half listing fail and leave the lake as it was."""
    before = everything(service.settings, ("usage", "marts", "meta"))
    for name, plays in NOT_A_PAGE.items():
        done = service.sync(*plays)
        assert done.error is not None, name
        assert done.rows == (), name
    assert everything(service.settings, ("usage", "marts", "meta")) == before


def test_buckets_without_results_are_a_deletion(service: _Service) -> None:
    """The same days as buckets with empty results are the service's word that nothing is there: rows go."""
    done = service.sync(answering(page(_days(None))))
    assert done.error is None
    assert (done.total("deleted"), done.total("rows")) == (7, 0)
    assert rows(service.settings, "select count(*) from usage.vector_stores") == [(0,)]
    remembered = "select count(*), sum((before->>'usage_bytes')::int) from meta.restatements"
    assert rows(service.settings, remembered) == [(7, 35)]
    assert rows(service.settings, "select count(*) from meta.coverage where endpoint = 'vector_stores'") == [(7,)]
