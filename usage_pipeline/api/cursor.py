"""Page cursors: opaque to clients, bound to one exact query.

Put the cursor's bytes here, laid out as the real service's; what a page holds is decided in `usage_pipeline.api.query`.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable

from usage_pipeline.api.refusals import invalid_cursor

_PREFIX = "page_"
_LAYOUT = struct.Struct(">QIQ")  # time of issue, fingerprint of the query, start of the next bucket


def fingerprint(path: str, parameters: Iterable[tuple[str, str]]) -> int:
    """32 bits that change with the path and with any parameter but `page`; `a[]` and `a` count as one name."""
    kept = sorted((name.removesuffix("[]"), value) for name, value in parameters if name != "page")
    return int.from_bytes(hashlib.sha256(repr((path, kept)).encode()).digest()[:4])


def write_cursor(issued_at: int, query_fingerprint: int, next_start: int) -> str:
    """The cursor of the page that begins with the bucket at `next_start`."""
    return _PREFIX + base64.urlsafe_b64encode(_LAYOUT.pack(issued_at, query_fingerprint, next_start)).decode()


def read_cursor(text: str, query_fingerprint: int) -> int:
    """The start of the next bucket.

    Raises:
        Refusal: the cursor is damaged or was issued for another query.
    """
    try:
        _, issued_for, next_start = _LAYOUT.unpack(base64.urlsafe_b64decode(text.removeprefix(_PREFIX)))
    except (binascii.Error, struct.error, ValueError):
        raise invalid_cursor() from None
    if not text.startswith(_PREFIX) or issued_for != query_fingerprint:
        raise invalid_cursor()
    return int(next_start)
