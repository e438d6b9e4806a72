"""What response headers say about time: the service's clock and how long it asks to wait.

Put the reading of headers here; what follows from them is transport.py's and listing.py's.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx


def retry_after(headers: httpx.Headers, now: datetime) -> float | None:
    """Seconds a Retry-After asks for: an integer, or a date seen from the service's clock (else ours)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until = _moment(text)
    if until is None:
        return None
    return max(0.0, (until - (served_at(headers) or now)).total_seconds())


def served_at(headers: httpx.Headers) -> datetime | None:
    """The service's clock; of several Date headers the last, as a server's own comes before its application's."""
    dates = headers.get_list("date")
    return _moment(dates[-1]) if dates else None


def _moment(text: str | None) -> datetime | None:
    """An HTTP date as UTC, None where it is absent or malformed."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
