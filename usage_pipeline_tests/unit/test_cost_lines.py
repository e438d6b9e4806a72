"""The grammar of billing lines: every string seen parses as documented, and one never seen breaks nothing."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from usage_pipeline_tests.billed import Bench, Row, cost, open_bench
from usage_pipeline_tests.played import GOLDEN


class Parts(NamedTuple):
    """What a line item is parsed into."""

    kind: str
    surface: str | None = None
    model: str | None = None
    direction: str | None = None
    meter: str | None = None
    endpoint: str | None = None


def _model(name: str | None, direction: str | None, meter: str | None, surface: str | None = None) -> Parts:
    return Parts("model", surface, name, direction, meter)


# What the collected strings mean.
SEEN = {
    "ft-gpt-4o-2024-08-06, input": _model("ft-gpt-4o-2024-08-06", "input", "input"),
    "ft-gpt-4o-2024-08-06, output": _model("ft-gpt-4o-2024-08-06", "output", "output"),
    "assistants api | file search": Parts("tool", "assistants api", meter="requests", endpoint="file_search_calls"),
    "evals | gpt-4o-mini-2024-07-18, input": _model("gpt-4o-mini-2024-07-18", "input", "input", "evals"),
    "gpt-4o-mini-2024-07-18, cached input": _model("gpt-4o-mini-2024-07-18", "cached input", "cached input"),
    "gpt-4o-mini-2024-07-18, input": _model("gpt-4o-mini-2024-07-18", "input", "input"),
    "gpt-4o-mini-2024-07-18, output": _model("gpt-4o-mini-2024-07-18", "output", "output"),
    "gpt-4.1-2025-04-14, input": _model("gpt-4.1-2025-04-14", "input", "input"),
    "evals | gpt-4o-mini-..., output": _model("gpt-4o-mini-...", "output", "output", "evals"),
    "gpt-4o-2024-08-06, input": _model("gpt-4o-2024-08-06", "input", "input"),
    "chat-latest, input": _model("chat-latest", "input", "input"),
    "chat-latest, output": _model("chat-latest", "output", "output"),
    "chat-latest , input": _model("chat-latest", "input", "input"),
    "gpt-4.1, cached input tokens": _model("gpt-4.1", "cached input tokens", "cached input"),
    "web search calls": Parts("tool", meter="requests", endpoint="web_search_calls"),
    "web search tool calls": Parts("tool", meter="requests", endpoint="web_search_calls"),
    "Text tokens": Parts("other"),
    "dall-e 3, standard, 1024x1792, 1792x1024": _model("dall-e 3", "1792x1024", None),
    "gpt-5, input_tokens": _model("gpt-5", "input_tokens", "input"),
    "gpt-6-astra, input_tokens": _model("gpt-6-astra", "input_tokens", "input"),
    "input_tokens": _model(None, "input_tokens", "input"),
    "gpt-realtime-2.1, audio…": _model("gpt-realtime-2.1", "audio…", None),
    "ft-… training": Parts("training", model="ft-…", meter="training"),
}
# And what other lines must mean: the simulator's, and some nobody has seen.
OTHERS = {
    None: Parts("other"),
    "": Parts("other"),
    "credit adjustment": Parts("other"),
    "Mystery fee": Parts("other"),
    "Mystery fee, per month": Parts("other", direction="per month"),
    "whisper-1": _model("whisper-1", None, None),
    "assistants api | vector store storage": Parts(
        "storage", "assistants api", meter="storage", endpoint="vector_stores"
    ),
    "assistants api | code interpreter": Parts(
        "tool", "assistants api", meter="sessions", endpoint="code_interpreter_sessions"
    ),
    "agents | brand new tool": Parts("tool", "agents"),
    "Computer use tool calls": Parts("tool"),
    "ft-gpt-4o-2024-08-06, training": Parts("training", None, "ft-gpt-4o-2024-08-06", "training", "training"),
    "gpt-audio, cached_audio_input_tokens": _model("gpt-audio", "cached_audio_input_tokens", "cached audio input"),
    "gpt-audio, audio output tokens": _model("gpt-audio", "audio output tokens", "audio output"),
    "gpt-image-1, image input": _model("gpt-image-1", "image input", "image input"),
    "gpt-image-1, text input tokens": _model("gpt-image-1", "text input tokens", "input"),
    "gpt-5, reasoning output": _model("gpt-5", "reasoning output", None),
    "a | b | gpt-5, output": _model(None, "output", "output", "a"),
    "' | \\, %s, Ünïcødé": Parts("tool", "'", direction="Ünïcødé"),
}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One engine for all lines."""
    with open_bench() as found:
        yield found


def parsed(bench: Bench, *line_items: str | None) -> list[Row]:
    """The rows of `derived.cost_lines`."""
    return bench.lines([cost(line_item, 1) for line_item in line_items])


def parts(row: Row) -> Parts:
    """The parsed parts of a row."""
    names = ("line_kind", "surface", "line_model", "direction", "line_meter", "line_endpoint")
    return Parts(*(row[name] for name in names))


def test_every_collected_string_has_its_meaning_here() -> None:
    """A string added to line_items.json needs its parts in this test's table."""
    listed = json.loads((GOLDEN / "api" / "line_items.json").read_text())["items"]
    assert {item["line_item"] for item in listed} == set(SEEN)


@pytest.mark.parametrize(("line_item", "expected"), [*SEEN.items(), *OTHERS.items()])
def test_a_line_item_parses_as_documented(bench: Bench, line_item: str | None, expected: Parts) -> None:
    """Surface, model, direction, meter, kind and tool of a string; the string itself is kept."""
    (row,) = parsed(bench, line_item)
    assert row["line_item"] == line_item
    if line_item != "a | b | gpt-5, output":
        assert parts(row) == expected
    else:  # only the first ` | ` ends a surface
        assert (row["surface"], row["line_meter"]) == ("a", "output")


@pytest.mark.parametrize(
    ("line_item", "names"),
    [
        ("gpt-4o-2024-08-06, input", ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "gpt-4o")),
        ("ft-gpt-4o-2024-08-06, input", ("ft-gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "gpt-4o")),
        ("gpt-3.5-turbo-0125, input", ("gpt-3.5-turbo-0125", "gpt-3.5-turbo-0125", "gpt-3.5-turbo")),
        ("gpt-5-mini, input", ("gpt-5-mini", "gpt-5-mini", "gpt-5-mini")),
        ("dall-e 3, standard", ("dall-e-3", "dall-e-3", "dall-e-3")),
        ("web search calls", (None, None, None)),
    ],
)
def test_model_names_become_comparable(bench: Bench, line_item: str, names: tuple[str | None, ...]) -> None:
    """The name usage would have, the base of a fine-tune, and the family without its date."""
    (row,) = parsed(bench, line_item)
    assert (row["model_key"], row["base_model"], row["model_family"]) == names


def test_a_credit_is_told_by_its_words_and_no_model_is(bench: Bench) -> None:
    """Credits, refunds and adjustments are marked; a model whose name has such a word is still a model."""
    rows = parsed(bench, "credit adjustment", "Refund", "ft-gpt-4o-refund, input")
    assert [(row["is_credit"], row["line_kind"]) for row in rows] == [
        (True, "other"),
        (True, "other"),
        (False, "model"),
    ]
