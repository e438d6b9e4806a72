"""Page cursors: the real service's bytes, bound to one query."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.api.cursor import fingerprint, read_cursor, write_cursor
from usage_pipeline.api.refusals import Refusal

CAPTURED = json.loads((Path(__file__).parent.parent / "golden" / "api" / "payloads" / "page_tokens.json").read_text())
PATH = "/organization/costs"


@pytest.mark.parametrize("captured", CAPTURED, ids=[c["token"] for c in CAPTURED])
def test_captured_cursors_are_read_and_written(captured: dict[str, Any]) -> None:
    """Cursors of the real service are taken apart into the captured numbers, and put together again."""
    own = int(captured["u32"], 16)
    assert read_cursor(captured["token"], own) == captured["u64_b"]
    assert write_cursor(captured["u64_a"], own, captured["u64_b"]) == captured["token"]


@pytest.mark.parametrize(
    "damaged",
    ["", "page_", "page_AAAA", "page_%%%", "page_é", CAPTURED[0]["token"][5:], CAPTURED[0]["token"][:-4]],
)
def test_damaged_cursors_are_refused(damaged: str) -> None:
    """Anything but a whole cursor is refused, never a crash."""
    with pytest.raises(Refusal, match="page token is invalid"):
        read_cursor(damaged, int(CAPTURED[0]["u32"], 16))


def test_a_cursor_of_another_query_is_refused() -> None:
    """A cursor is bound to its query's fingerprint."""
    cursor = write_cursor(1, 2, 3)
    assert read_cursor(cursor, 2) == 3
    with pytest.raises(Refusal, match="have you modified the query parameters"):
        read_cursor(cursor, 1)


def test_fingerprint_changes_with_everything_but_the_cursor() -> None:
    """Path, names and values count; the page cursor and the brackets of a list do not."""
    query = [("start_time", "1"), ("group_by[]", "model")]
    own = fingerprint(PATH, query)
    assert own == fingerprint(PATH, [("page", "x"), ("group_by", "model"), ("start_time", "1")])
    assert own != fingerprint("/organization/usage/completions", query)
    for other in ([("start_time", "2"), query[1]], query[:1], [*query, ("limit", "7")]):
        assert fingerprint(PATH, other) != own


def test_cursor_is_twenty_bytes() -> None:
    """The layout is eight, four and eight bytes, as captured."""
    assert base64.urlsafe_b64decode(write_cursor(1, 2, 3)[5:]).hex() == "0000000000000001000000020000000000000003"
