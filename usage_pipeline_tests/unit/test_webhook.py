"""The webhook: one post, Slack's form, escaped; an address that never shows."""

import logging
import socket
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from usage_pipeline.api.webhook import message_text, send_alert
from usage_pipeline.errors import FixConfig, RetryLater, UsagePipelineError
from usage_pipeline.settings import Settings
from usage_pipeline_tests.receiver import SECRET, Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of the test's own."""
    with receiving() as found:
        yield found


def test_an_alert_is_one_post_of_one_text(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """The lines arrive as one message; no log line holds the address."""
    with caplog.at_level(logging.DEBUG):
        send_alert(receiver.url, ["first", "second"])
    assert receiver.posts == [{"method": "POST", "path": f"/services/{SECRET}", "text": "first\nsecond"}]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    assert SECRET not in str(ours)


def test_other_peoples_text_is_escaped() -> None:
    """Mentions, links, control characters and endless text of a line item stay text."""
    text = message_text(["<!channel> & <http://evil|here>\n\x1b[31mred‮", "x" * 5000])
    assert text.splitlines()[0] == "&lt;!channel&gt; &amp; &lt;http://evil|here&gt;  [31mred "
    assert len(text.splitlines()) == 2
    assert len(text) < 800


def test_many_lines_are_cut_with_a_count() -> None:
    """A hundred findings do not make a hundred lines."""
    lines = message_text([str(number) for number in range(100)]).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "... and 80 more: run usage-pipeline check."


@pytest.mark.parametrize(
    ("status", "expected"), [(404, FixConfig), (302, FixConfig), (429, RetryLater), (500, RetryLater)]
)
def test_a_refusal_says_what_to_do_and_is_sent_once(
    receiver: Receiver, status: int, expected: type[UsagePipelineError]
) -> None:
    """No redirect is followed, nothing is sent twice, and the error names the setting, not the address."""
    receiver.status, receiver.location = status, receiver.url.get_secret_value()
    with pytest.raises(expected, match=f"answered {status}") as raised:
        send_alert(receiver.url, ["x"])
    assert len(receiver.posts) == 1
    assert SECRET not in str(raised.value)


def test_an_unreachable_receiver_is_one_line() -> None:
    """Nobody listens: retry later, without the address in the message or its causes."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = SecretStr(f"http://127.0.0.1:{unused.getsockname()[1]}/{SECRET}")
        with pytest.raises(RetryLater, match=r"not reached \(ConnectError\).*USAGE_PIPELINE_WEBHOOK_URL") as raised:
            send_alert(url, ["x"])
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    "url", ["http://hooks.example/x", "ftp://h/x", "https://?canary", "https://h/a b", "hooks", "https://[x"]
)
def test_an_unsafe_address_is_refused_without_quoting_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It must be https, or http on loopback; the message names the setting."""
    monkeypatch.setenv("USAGE_PIPELINE_WEBHOOK_URL", url)
    with pytest.raises(FixConfig, match="USAGE_PIPELINE_WEBHOOK_URL") as raised:
        Settings.from_env(None)
    assert url not in str(raised.value)


@pytest.mark.parametrize("url", ["https://hooks.example/services/x", "http://127.0.0.1:9/x", " http://localhost/x "])
def test_an_address_is_kept_secret(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A good address is taken, and prints as stars; an empty one is none."""
    monkeypatch.setenv("USAGE_PIPELINE_WEBHOOK_URL", url)
    settings = Settings.from_env(None)
    assert settings.webhook_url is not None
    assert settings.webhook_url.get_secret_value() == url.strip()
    assert url.strip() not in repr(settings)
    monkeypatch.setenv("USAGE_PIPELINE_WEBHOOK_URL", " ")
    assert Settings.from_env(None).webhook_url is None
