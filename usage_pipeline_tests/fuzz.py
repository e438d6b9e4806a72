"""Coverage-guided bytes for the parsers: `uv run --with atheris python -m usage_pipeline_tests.fuzz`.

Whatever a body holds ends in a value or in a typed error, the bulk decoder and the reading by record agree, and what
was read becomes rows or is refused. It begins with the golden pages; arguments (`-max_total_time=600`) are libFuzzer's.
Put what is fuzzed here.
"""

import logging
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

fuzzer: Any = import_module("atheris")  # brought by the command: no dependency of the project
with fuzzer.instrument_imports(include=["usage_pipeline"]):
    from usage_pipeline.api.cursor import read_cursor
    from usage_pipeline.api.error_answers import refusal
    from usage_pipeline.api.models import Page, parse_page, parse_records
    from usage_pipeline.api.name_models import parse_name_page
    from usage_pipeline.api.refusals import Refusal
    from usage_pipeline.endpoints import ENDPOINTS, Endpoint
    from usage_pipeline.errors import BadPayload, UsagePipelineError
    from usage_pipeline.lake.tables import Content, normalize
    from usage_pipeline.name_lists import NAME_LISTS
    from usage_pipeline.records import WindowRead
    from usage_pipeline.windows import Window

from usage_pipeline_tests.scripted import GOLDEN_PAGES, KEY  # noqa: E402 - what is fuzzed must be imported first

_FETCHED = datetime(2026, 11, 20, tzinfo=UTC)


def _result(do: Callable[[], Any]) -> Any:
    """What it gives; None where it is refused in one printable line."""
    try:
        return do()
    except (BadPayload, Refusal) as refused:
        said = str(refused)
    assert said.isprintable()
    return None


def _rows(endpoint: Endpoint, page: Page) -> Content | None:
    starts = [bucket.start_time for bucket in page.buckets]
    if not starts or not 0 <= min(starts) <= max(starts) < 2**33:
        return None
    first = min(starts) // 86400 * 86400
    read = WindowRead(
        endpoint=endpoint.name,
        window=Window.of_times(first, first + 86400),
        bucket_width="1d",
        group_by=(),
        fetched_at=_FETCHED,
        pages=[],
        buckets=[bucket for bucket in page.buckets if bucket.start_time == first],
        requests=1,
    )
    return _result(lambda: normalize(endpoint, "default", read))


def one(data: bytes) -> None:
    """One input: its first byte chooses the endpoint, the rest is the body."""
    names = list(ENDPOINTS)
    endpoint, body = ENDPOINTS[names[data[0] % len(names)] if data else names[0]], data[1:]
    page = _result(lambda: parse_page(endpoint, body, where="here"))
    record = _result(lambda: parse_records(endpoint, body, where="here"))
    assert (page is None) == (record is None), "one reader takes what the other refuses"
    if page is not None and record is not None:
        found, expected = _rows(endpoint, page), _rows(endpoint, record)
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert found.days == expected.days, "the readers make different rows"
    _result(lambda: parse_name_page(NAME_LISTS["projects"], body, where="here"))
    text = body[:200].decode("latin-1")
    _result(lambda: read_cursor(text, 7))
    wrong = refusal("here", 400 + (data[0] if data else 0) % 30, body, key=KEY, group_by=["model"])
    assert isinstance(wrong, UsagePipelineError)
    assert str(wrong).isprintable()


def main() -> None:
    """Fuzz until libFuzzer's arguments say stop; a crash ends it, with the input in a file."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as corpus:
        for number, name in enumerate(ENDPOINTS):
            golden = (GOLDEN_PAGES / f"{name}.json").read_bytes()
            Path(corpus, name).write_bytes(bytes([number]) + golden)
        fuzzer.Setup([*sys.argv, corpus], one)
        fuzzer.Fuzz()


if __name__ == "__main__":
    main()
