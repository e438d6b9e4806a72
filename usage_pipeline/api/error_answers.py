"""What the service's refusals mean: a status and its body become one typed error with a way out.

Put the reading of error answers here; whether to try again is transport.py's, what to give up grouping.py's.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from usage_pipeline.errors import (
    GroupingRefused,
    HistoryExceeded,
    NotFound,
    PermissionRefused,
    RequestRefused,
    SourceChanged,
    UsagePipelineError,
)
from usage_pipeline.redaction import redacted, without_keys

_QUOTED_CHARS = 200
_FLOOR = re.compile(r"group_by=(\w+) is not available.*?on or after (\d{9,11})\b")
_SCOPES = re.compile(r"[Mm]issing scopes?: ([\w.:-]+(?:, *[\w.:-]+)*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Purpose:
    """What a request is for: a refused key is refused for this alone, and `needs` says which key would do."""

    name: str
    needs: str


USAGE = Purpose(
    name="usage",
    needs="Usage and costs need an admin key (an organization owner creates it in the organization's settings) with "
    "api.usage.read; set OPENAI_ADMIN_KEY.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Details:
    """What an error body says; any part may be missing."""

    message: str
    param: str | None = None
    code: str | None = None


def quoted(text: str, key: str | None = None) -> str:
    """The service's words made safe for a message: no key, one line, printable, at most 200 characters."""
    plain = without_keys(redacted(text, [key] if key else []))
    printable = "".join(c if c.isprintable() else " " for c in plain[: _QUOTED_CHARS * 10])
    return " ".join(printable.split())[:_QUOTED_CHARS]


def refusal(
    where: str, status: int, body: bytes, *, key: str, group_by: Sequence[str] = (), purpose: Purpose = USAGE
) -> UsagePipelineError:
    """The error for an answer that is neither a page nor worth another attempt.

    Args:
        where: What to call the request (endpoint and window).
        status: The HTTP status.
        body: The error body, possibly cut short.
        key: The admin key, so that a body that quotes it cannot put it into the message.
        group_by: What the request grouped by: tells a refused dimension from other refused parameters.
        purpose: What the request was for: says which key it needs.
    """
    details = _details(body, key)
    if status in (401, 403):
        return PermissionRefused(_permission(where, status, details.message, purpose))
    if 300 <= status < 400:
        return SourceChanged(
            f"{where}: answered a redirect ({status}), which is never followed because it would carry the key along; "
            "check OPENAI_BASE_URL."
        )
    if status in (404, 410):
        return NotFound(
            f"{where}: not found ({status}). The service answered so in an outage before: run again later; if it "
            "persists, check OPENAI_BASE_URL (it ends in /v1) or the endpoint is gone. Other endpoints are unaffected."
        )
    if status == 400:
        return _bad_request(where, details, group_by)
    if 400 <= status < 500:
        return RequestRefused(f"{where}: refused with status {status}: {details.message}", param=details.param)
    return SourceChanged(f"{where}: answered status {status}, which is not a page: {details.message}")


def _details(body: bytes, key: str) -> _Details:
    """The parts of `{"error": {...}}` or of `{"error": "bare text"}`; else the body's beginning."""
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        words = error if isinstance(error, str) else text
        return _Details(message=quoted(words, key) or "(no message)")
    parts = {name: quoted(value, key) for name, value in error.items() if isinstance(value, str)}
    return _Details(message=parts.get("message") or "(no message)", param=parts.get("param"), code=parts.get("code"))


def _permission(where: str, status: int, message: str, purpose: Purpose) -> str:
    scopes = _SCOPES.search(message)
    missing = f" The key lacks {scopes.group(1).rstrip('.')}." if scopes else ""
    return f"{where}: the service refused the key ({status}): {message}{missing} {purpose.needs}"


def _bad_request(where: str, details: _Details, group_by: Sequence[str]) -> RequestRefused:
    message = details.message
    if details.code == "reporting_lookback_exceeded":
        return HistoryExceeded(
            f"{where}: the window starts before what the service keeps: {message} Choose a later first day.",
            param=details.param,
        )
    if "page token is invalid" in message.lower():
        return RequestRefused(f"{where}: the page cursor was refused: {message}", param="page")
    if floor := _FLOOR.search(message):
        return GroupingRefused(f"{where}: {message}", dimension=floor.group(1), floor=int(floor.group(2)))
    named = [name for name in group_by if re.search(rf"\b{name}\b", message)]
    if group_by and (named or "group" in f"{details.param} {message}".lower()):
        dimension = named[0] if len(named) == 1 else None
        return GroupingRefused(f"{where}: the grouping was refused: {message}", dimension=dimension)
    at = f" ({details.param})" if details.param else ""
    return RequestRefused(f"{where}: a parameter was refused{at}: {message}", param=details.param)
