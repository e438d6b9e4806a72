"""The parsers of pages given anything: a value or a typed error, never another exception."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from usage_pipeline.api.error_answers import refusal
from usage_pipeline.api.models import parse_page
from usage_pipeline.api.name_models import parse_name_page
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import BadPayload, UsagePipelineError
from usage_pipeline.name_lists import NAME_LISTS
from usage_pipeline_tests.scripted import COMPLETIONS, GOLDEN_PAGES, KEY

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["page", "bucket", "1e9999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _problem(parse: Callable[[], object]) -> str:
    """Why a body was refused; empty where it was not."""
    try:
        parse()
    except BadPayload as refused:
        return str(refused)
    return ""


def _parse_all(body: bytes) -> None:
    """Every parser of bodies: what is no page is BadPayload, and an error answer always becomes an error."""
    for parse in (
        lambda: parse_page(COMPLETIONS, body, where="here"),
        lambda: parse_page(ENDPOINTS["costs"], body, where="here"),
        lambda: parse_name_page(NAME_LISTS["projects"], body, where="here"),
    ):
        assert "\n" not in _problem(parse)
    for status in (301, 400, 401, 404, 422):
        wrong = refusal("here", status, body, key=KEY, group_by=["model"])
        assert isinstance(wrong, UsagePipelineError)
        assert str(wrong).isprintable()


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=300)
def test_f26_any_bytes_are_a_page_or_a_typed_error(body: bytes) -> None:
    """Whatever a body holds, reading it ends in a value or in a typed error of one printable line."""
    _parse_all(body)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in children for found in _paths(inner, (*path, key)))]


@given(st.sampled_from(["completions", "costs"]), st.data())
@settings(max_examples=300)
def test_f26_a_page_changed_anywhere_is_a_page_or_a_typed_error(name: str, data: st.DataObject) -> None:
    """A good page with any one value replaced, or cut anywhere, is read or refused, never a crash."""
    document = json.loads((GOLDEN_PAGES / f"{name}.json").read_text())
    path = data.draw(st.sampled_from(_paths(document)[1:]))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = data.draw(JSON)
    body = json.dumps(document).encode()
    _parse_all(body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body)
