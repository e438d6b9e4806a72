"""Telling people through one webhook: a Slack-compatible `{"text": ...}`, sent once.

Put how an alert goes over the wire here; what is worth one, and when, is defs/alerts.py's. The address is a secret (who
has it can post): no message or log holds it. The transport is used bare: it follows no redirect and logs no address.
"""

from collections.abc import Sequence

import httpx
from pydantic import SecretStr

from usage_pipeline.errors import FixConfig, RetryLater

_TIMEOUT = httpx.Timeout(10.0)
_LONGEST_LINE = 600
_MOST_LINES = 20
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SETTING = "USAGE_PIPELINE_WEBHOOK_URL"


def send_alert(url: SecretStr, lines: Sequence[str]) -> None:
    """Post the lines as one message. Ids and line items in them are other people's text, so all of it is escaped.

    Raises:
        FixConfig: the receiver refuses (3xx, 4xx): the address is wrong or revoked.
        RetryLater: it is out of reach, or fails (429, 5xx).
    """
    request = httpx.Request(
        "POST", url.get_secret_value(), json={"text": message_text(lines)}, extensions={"timeout": _TIMEOUT.as_dict()}
    )
    try:
        with httpx.HTTPTransport() as transport:
            status = transport.handle_request(request).status_code
    except httpx.TransportError as wrong:
        raise RetryLater(f"the webhook was not reached ({type(wrong).__name__}): see {_SETTING}.") from None
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise RetryLater(f"the webhook answered {status}: the alert is sent again later.")
    if not httpx.codes.is_success(status):
        raise FixConfig(f"the webhook answered {status}: make a new address there and set {_SETTING}.")


def message_text(lines: Sequence[str]) -> str:
    """The lines as Slack takes them: no markup, mention or link of a line's own, nothing endless."""
    shown = [_escaped(line) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"... and {len(lines) - _MOST_LINES} more: run usage-pipeline check.")
    return "\n".join(shown)


def _escaped(line: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in line)
    cut = plain if len(plain) <= _LONGEST_LINE else f"{plain[:_LONGEST_LINE]} ..."
    return "".join(_ESCAPES.get(char, char) for char in cut)
