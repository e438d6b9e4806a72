"""One request made reliable: retries, waits, deadlines, caps and refusals, all in virtual time."""

import asyncio
import gzip
import traceback
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from usage_pipeline.api.transport import RetryPolicy
from usage_pipeline.errors import (
    BadPayload,
    FixConfig,
    HistoryExceeded,
    PageTooLarge,
    PermissionRefused,
    RateLimited,
    RequestRefused,
    RetryLater,
    SourceChanged,
    UsagePipelineError,
)
from usage_pipeline_tests.scripted import (
    COMPLETIONS,
    COSTS,
    KEY,
    WEEK,
    Script,
    buckets,
    days,
    error,
    ok,
    page,
    read,
    script,
    whole,
)


def failure(far_side: Script, kind: type[UsagePipelineError], **options: Any) -> UsagePipelineError:
    """The typed error of a read; its text and traceback must not hold the key and must name the request."""
    with pytest.raises(kind) as refused:
        read(far_side, **options)
    assert type(refused.value) is kind
    assert KEY not in str(refused.value)
    assert KEY not in "".join(traceback.format_exception(refused.value))
    assert "\n" not in str(refused.value)
    assert f"completions {options.get('window', WEEK)}" in str(refused.value)
    return refused.value


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("times", [1, 3])
def test_busy_answers_are_retried(status: int, times: int) -> None:
    """A busy answer is asked again, the same page, and the read is whole; retries are counted."""
    far_side = script(*[httpx.Response(status)] * times, whole)
    done = read(far_side)
    assert done is not None
    assert (len(done.buckets), done.requests, done.retries) == (7, times + 1, times)
    assert len({str(request.url) for request in far_side.requests}) == 1
    assert len(far_side.sleeps) == times


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("[Errno -2] Name or service not known"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.WriteTimeout(""),
        httpx.PoolTimeout(""),
        httpx.ReadError(""),
        httpx.CloseError(""),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.DecodingError("incorrect header check"),
        httpx.ProxyError(""),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_transport_faults_are_retried_then_named(fault: httpx.RequestError) -> None:
    """A fault of the connection is retried; when it lasts, RetryLater names it and the way out."""
    assert read(script(fault, whole)) is not None
    far_side = script(fault)
    wrong = failure(far_side, RetryLater)
    assert type(fault).__name__ in str(wrong)
    assert "gave up after 4 attempts" in str(wrong)
    assert (len(far_side.requests), len(far_side.sleeps)) == (4, 3)


def test_retry_after_seconds_is_a_minimum() -> None:
    """429 with Retry-After: 2 waits at least two seconds, and not much longer."""
    far_side = script(httpx.Response(429, headers={"retry-after": "2"}), whole)
    assert read(far_side) is not None
    assert 2 < far_side.sleeps[0] <= 2.5, "the jitter comes on top, or all who wait come back at once"


def test_retry_after_date_is_waited_for() -> None:
    """A Retry-After date is measured by the service's own clock where it gives one, else by ours."""
    later = {"retry-after": "Fri, 20 Nov 2026 12:00:40 GMT"}
    for headers, seconds in ((later, 40), (later | {"date": "Fri, 20 Nov 2026 12:00:30 GMT"}, 10)):
        far_side = script(httpx.Response(503, headers=headers), whole)
        assert read(far_side) is not None
        assert seconds <= far_side.sleeps[0] <= seconds + 0.5


def test_retry_after_is_capped_and_past_dates_do_not_wait() -> None:
    """An absurd Retry-After waits the cap; one in the past, or unreadable, only backs off."""
    for text, least, most in (
        ("999999999999", 120, 120.5),
        ("Fri, 20 Nov 2099 12:00:00 GMT", 120, 120.5),
        ("Fri, 20 Nov 2020 12:00:00 GMT", 0, 0.5),
        ("soon", 0, 0.5),
        ("-5", 0, 0.5),
    ):
        far_side = script(httpx.Response(429, headers={"retry-after": text}), whole)
        assert read(far_side) is not None
        assert least <= far_side.sleeps[0] <= most, text


def test_backoff_is_full_jitter_and_capped() -> None:
    """Waits are spread from zero to a doubling bound that stops at max_delay, and never repeat in step."""
    policy = RetryPolicy(attempts=9, first_delay=1, max_delay=8)
    far_side = script(httpx.Response(500))
    failure(far_side, RetryLater, policy=policy)
    bounds = [1, 2, 4, 8, 8, 8, 8, 8]
    assert all(0 <= wait <= bound for wait, bound in zip(far_side.sleeps, bounds, strict=True))
    assert len(set(far_side.sleeps)) == len(bounds)
    assert min(w / b for w, b in zip(far_side.sleeps, bounds, strict=True)) < 0.5


def test_rate_limit_for_ever_ends() -> None:
    """429 for ever is RateLimited after the policy's attempts, with the seconds the service asked for."""
    far_side = script(httpx.Response(429, headers={"retry-after": "7"}))
    wrong = failure(far_side, RateLimited)
    assert isinstance(wrong, RateLimited)
    assert wrong.seconds == 7
    assert len(far_side.requests) == 4


@pytest.mark.parametrize(
    ("raw", "kind"),
    [(b"", "application/json"), (b"<html><b>busy</b>\n</html>", "text/html"), (b'{"object":"page","da', "none")],
)
def test_bodies_that_are_not_json_are_retried_then_shown(raw: bytes, kind: str) -> None:
    """An empty, HTML or cut 200 is a transport fault; when it lasts, the error has status, type and beginning."""
    broken = httpx.Response(200, content=raw, headers={} if kind == "none" else {"content-type": kind})
    assert read(script(broken, whole)) is not None
    far_side = script(broken)
    wrong = failure(far_side, BadPayload)
    assert len(far_side.requests) == 4
    for words in ("Status 200", kind, raw[:10].decode()):
        assert words in str(wrong)


def test_quoted_bodies_are_short_and_hold_no_key() -> None:
    """At most 200 characters of a foreign body are quoted, with the key and anything like one taken out."""
    echo = f"{'x' * 150}{KEY} sk-proj-abcdef123456 \u202e\x1b[31m" + "y" * 900
    for step in (httpx.Response(200, text=echo), error(422, echo), ok({"error": echo})):
        with pytest.raises(SourceChanged) as refused:
            read(script(step))
        text = str(refused.value)
        assert KEY not in text
        assert "sk-proj" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert len(text) < 700


def test_valid_json_that_is_no_page_is_not_retried() -> None:
    """A wrong page is wrong again: it is reported at once."""
    far_side = script(ok([]))
    failure(far_side, BadPayload)
    assert len(far_side.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed(status: int) -> None:
    """A redirect fails; no second request carries the key anywhere."""
    far_side = script(httpx.Response(status, headers={"location": "https://elsewhere.example/"}))
    wrong = failure(far_side, SourceChanged)
    assert "redirect" in str(wrong)
    assert [request.url.host for request in far_side.requests] == ["api.example"]


@pytest.mark.parametrize("status", [404, 410])
def test_absent_endpoints_fail_at_once_and_alone(status: int) -> None:
    """404 and 410 are not retried, and another endpoint of the same client still reads."""
    far_side = script(lambda r: httpx.Response(status) if r.url.path.endswith("completions") else whole(r))

    async def run() -> None:
        async with far_side.client() as client:
            with pytest.raises(RequestRefused, match=f"not found \\({status}\\).*run again later"):
                await client.read_window(COMPLETIONS, WEEK, bucket_width="1d")
            assert await client.read_window(COSTS, WEEK, bucket_width="1d") is not None

    asyncio.run(run())
    assert len(far_side.requests) == 2


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("shape", ["object", "bare", "empty"])
def test_a_refused_key_ends_everything(status: int, shape: str) -> None:
    """401/403 in any form is PermissionRefused naming the key to get, and the client sends nothing more."""
    said = f"You have insufficient permissions for {KEY}. Missing scopes: api.usage.read. Check that you have"
    step = {
        "object": error(status, said),
        "bare": httpx.Response(status, json={"error": said}),
        "empty": httpx.Response(status),
    }[shape]
    far_side = script(step)

    async def run() -> None:
        async with far_side.client() as client:
            for _ in range(3):
                with pytest.raises(PermissionRefused, match=r"admin key.*OPENAI_ADMIN_KEY") as refused:
                    await client.read_window(COMPLETIONS, WEEK, bucket_width="1d")
                assert KEY not in str(refused.value)
                assert ("The key lacks api.usage.read. Usage and costs need" in str(refused.value)) == (
                    shape != "empty"
                )

    asyncio.run(run())
    assert len(far_side.requests) == 1
    assert far_side.sleeps == []


def test_a_refused_parameter_is_named_and_not_retried() -> None:
    """400 is reported at once with the parameter's name and the service's words."""
    far_side = script(error(400, "Invalid type for 'start_time'.", param="start_time", code="invalid_type"))
    wrong = failure(far_side, RequestRefused)
    assert isinstance(wrong, RequestRefused)
    assert wrong.param == "start_time"
    assert "(start_time): Invalid type for 'start_time'." in str(wrong)
    assert len(far_side.requests) == 1


def test_history_beyond_the_service_is_told_apart() -> None:
    """Code reporting_lookback_exceeded says to choose a later first day."""
    wrong = failure(script(error(400, "Too old.", code="reporting_lookback_exceeded")), HistoryExceeded)
    assert "Choose a later first day" in str(wrong)


@pytest.mark.parametrize("body", [b"", b"[]", b"{" * 100_000, b'{"error":{"message":7,"param":[]}}', b"\xff\xfe"])
def test_odd_error_bodies_still_give_a_message(body: bytes) -> None:
    """An error body of any form is reported without failing on it."""
    failure(script(httpx.Response(422, content=body)), RequestRefused)


class _Drip(httpx.AsyncByteStream):
    """A body that never ends: one byte whenever the loop is free."""

    def __init__(self, piece: bytes) -> None:
        self._piece = piece
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            self.sent += len(self._piece)
            yield self._piece


def test_a_dripping_body_ends_at_the_deadline() -> None:
    """A body that drips for ever ends at the attempt's wall-clock deadline, though no read is ever idle."""
    far_side = script(lambda _: httpx.Response(200, stream=_Drip(b" ")))
    wrong = failure(far_side, RetryLater, policy=RetryPolicy(attempts=2, request_deadline=0.05))
    assert "no complete answer within 0.05 s" in str(wrong)
    assert len(far_side.requests) == 2


def test_a_body_over_the_cap_is_cut_off() -> None:
    """A body above the decoded-size cap fails, is read no further and is not retried."""
    drip = _Drip(b"x" * 1000)
    far_side = script(lambda _: httpx.Response(200, stream=drip))
    wrong = failure(
        far_side, PageTooLarge, window=days("2026-11-01", "2026-11-02"), policy=RetryPolicy(max_body_bytes=10_000)
    )
    assert "exceeds 10,000 bytes" in str(wrong)
    assert drip.sent <= 12_000
    assert len(far_side.requests) == 1


def test_the_cap_counts_decoded_bytes() -> None:
    """A small gzip body that grows beyond the cap fails like a large one."""
    bomb = gzip.compress(b" " * 1_000_000)
    far_side = script(
        lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))
    )
    failure(far_side, PageTooLarge, window=days("2026-11-01", "2026-11-02"), policy=RetryPolicy(max_body_bytes=100_000))


def test_an_endless_error_body_is_cut_and_still_typed() -> None:
    """An error answer is read only as far as a message needs."""
    drip = _Drip(b"x" * 1000)
    failure(script(lambda _: httpx.Response(422, stream=drip)), RequestRefused)
    assert drip.sent < 100_000


def test_encodings_not_asked_for_are_refused() -> None:
    """Nested or foreign encodings are refused undecoded: a chunk of them could grow without bound."""
    for encoding in ("gzip, gzip", "br", "deflate"):
        wrong = failure(
            script(lambda _, e=encoding: httpx.Response(200, headers={"content-encoding": e}, stream=_Drip(b"x"))),
            BadPayload,
        )
        assert "was not asked for" in str(wrong)


def test_gzip_bodies_are_kept_decoded() -> None:
    """A compressed page reads like a plain one; the raw page holds the decoded body."""
    raw = gzip.compress(ok(page(buckets(WEEK))).content)
    done = read(
        script(lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(raw)))
    )
    assert done is not None
    assert done.pages[0].body == gzip.decompress(raw)


def test_damaged_gzip_is_retried() -> None:
    """A gzip body with a bad header or checksum, or cut short, is a transport fault."""
    good = gzip.compress(ok(page(buckets(WEEK))).content)
    for damaged in (b"not gzip at all", good[:-8] + b"\0" * 8, good[: len(good) // 2]):
        bad = lambda _, d=damaged: httpx.Response(  # noqa: E731
            200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(d)
        )
        done = read(script(bad, whole))
        assert done is not None
        assert done.retries == 1


def test_the_key_travels_in_one_header_only() -> None:
    """The key is in the Authorization header and nowhere else of the request, and raw pages name no host."""
    far_side = script(whole)
    done = read(far_side)
    assert done is not None
    request = far_side.requests[0]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    others = {name: value for name, value in request.headers.items() if name != "authorization"}
    assert KEY not in str(others) + str(request.url)
    assert done.pages[0].request.startswith("/v1/organization/usage/completions?start_time=")
    assert KEY not in repr(done)


def test_untrusted_certificates_are_not_retried() -> None:
    """A certificate that cannot be verified is a setting to mend, not a busy service."""
    far_side = script(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    failure(far_side, FixConfig)
    assert len(far_side.requests) == 1


def test_errors_that_quote_the_key_are_cleaned() -> None:
    """A fault whose own text quotes the header does not carry the key into message or chain."""
    wrong = failure(script(httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'")), RetryLater)
    assert wrong.__cause__ is None
    assert wrong.__context__ is None


def test_keys_of_any_form_are_cleaned_from_messages() -> None:
    """The key is taken out by its own text too, not only by looking like one."""
    key = "plain-canary-42"
    for step in (httpx.ReadError(f"lost {key}"), error(422, f"bad {key}"), ok({"error": key}), error(401, f"no {key}")):
        with pytest.raises(UsagePipelineError) as refused:
            read(script(step), key=SecretStr(key))
        assert key not in str(refused.value)
        assert "(key)" in str(refused.value)


@pytest.mark.parametrize("key", ["", "sk-admin-a\n", "sk-admin a", "sk-admin-ü"])
def test_unusable_keys_are_refused_unquoted(key: str) -> None:
    """A key that cannot stand in a header is refused before anything is sent, and not quoted."""
    with pytest.raises(FixConfig, match="copy it again") as refused:
        script(whole).client(key=SecretStr(key))
    assert not key or key.strip() not in str(refused.value)


def test_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables are ignored: the key would pass through the proxy's hands."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = script(whole).client(transport=None)
    http = client._transport._http
    assert http.trust_env is False
    assert all(mount is None for mount in http._mounts.values())
    asyncio.run(http.aclose())


def test_the_key_is_in_no_representation() -> None:
    """Printing the client or its parts shows no key."""
    client = script(whole).client()
    assert KEY not in repr(vars(client)) + repr(vars(client._transport)) + repr(client._transport._http.headers)


def test_addresses_that_are_too_long_name_the_filters() -> None:
    """A query too long for an address says to use fewer filter values."""
    with pytest.raises(FixConfig, match="fewer filter values"):
        read(script(whole), filters={"models": ["m" * 1000] * 100})


def test_a_bomb_is_told_long_before_the_cap() -> None:
    """What unpacks a thousandfold is no page: it ends at 16 MiB, and is not asked for again."""
    bomb = gzip.compress(b" " * 20_000_000)
    far_side = script(
        lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))
    )
    assert "more than 200 times what was sent" in str(failure(far_side, BadPayload))
    assert len(far_side.requests) == 1


@pytest.mark.parametrize("size", [0, 1, 7, 70_000])
def test_gzip_in_chunks_of_any_size(size: int) -> None:
    """A compressed page is the same however the network cuts it; bytes after its end are ignored."""
    plain = ok(page(buckets(WEEK))).content
    packed = gzip.compress(plain) + b"trailing"

    class Cut(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            step = size or len(packed)
            for start in range(0, len(packed), step):
                yield packed[start : start + step]

    done = read(script(lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Cut())))
    assert done is not None
    assert done.pages[0].body == plain


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_a_busy_answer_whose_body_cannot_be_read_is_still_busy(encoding: str) -> None:
    """Of an error the status counts: a proxy's 503 in a foreign or damaged encoding is retried, a 401 is not."""
    answers = {
        status: lambda _, s=status: httpx.Response(
            s, headers={"content-encoding": encoding}, stream=httpx.ByteStream(b"\x1f\x8b no")
        )
        for status in (503, 401)
    }
    done = read(script(answers[503], whole))
    assert done is not None
    assert done.retries == 1
    far_side = script(answers[401])
    failure(far_side, PermissionRefused)
    assert len(far_side.requests) == 1


def test_all_that_a_client_reads_ends_at_its_deadline() -> None:
    """Waits that would pass the sync's deadline are not begun, and past it nothing more is sent."""
    far_side = script(httpx.Response(429, headers={"retry-after": "50"}))
    wrong = failure(far_side, RetryLater, policy=RetryPolicy(total_deadline=120))
    assert "the 120 s one sync may take are over" in str(wrong)
    assert len(far_side.requests) == 3, "two waits of 50 s fit, a third does not"
    assert sum(far_side.sleeps) < 120

    far_side = script(whole)

    async def run() -> None:
        async with far_side.client(policy=RetryPolicy(total_deadline=120)) as client:
            assert await client.read_window(COMPLETIONS, WEEK, bucket_width="1d") is not None
            await far_side.sleep(120)
            with pytest.raises(RetryLater, match="--since and --until"):
                await client.read_window(COMPLETIONS, WEEK, bucket_width="1d")

    asyncio.run(run())
    assert len(far_side.requests) == 1
