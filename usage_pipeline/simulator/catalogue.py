"""What the simulated organization can use and what it costs: models, tools, list prices, typical sizes.

Put facts of the imagined market here, and no randomness; an endpoint absent from these tables still has data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

CACHE_WRITES_SINCE = date(2026, 6, 1)  # older responses have no cache-write fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model, the day it came out, and its list prices in USD per million units, at most three decimals."""

    name: str
    since: date
    input_usd: str
    cached_usd: str = "0"
    output_usd: str = "0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """The billing line of something that is not a model: its text, unit and USD per million units."""

    line_item: str
    quantity_unit: str | None
    usd: str


def _model(name: str, since: str, input_usd: str, cached_usd: str = "0", output_usd: str = "0") -> Model:
    return Model(
        name=name,
        since=date.fromisoformat(since),
        input_usd=input_usd,
        cached_usd=cached_usd,
        output_usd=output_usd,
    )


_CHAT = (
    _model("gpt-3.5-turbo-0125", "2024-01-01", "0.5", "0.5", "1.5"),
    _model("gpt-4-turbo-2024-04-09", "2024-04-09", "10", "10", "30"),
    _model("gpt-4o-mini-2024-07-18", "2024-07-18", "0.15", "0.075", "0.6"),
    _model("gpt-4o-2024-08-06", "2024-08-06", "2.5", "1.25", "10"),
    _model("o1-mini-2024-09-12", "2024-09-12", "1.1", "0.55", "4.4"),
    _model("ft:gpt-4o-2024-08-06:acme::abc", "2024-10-01", "3.75", "1.875", "15"),
    _model("ft:gpt-4o-mini-2024-07-18:acme:support:Ax41Zq9", "2024-11-05", "0.3", "0.15", "1.2"),
    _model("gpt-4o-audio-preview-2024-12-17", "2024-12-17", "2.5", "2.5", "10"),
    _model("o3-mini-2025-01-31", "2025-01-31", "1.1", "0.55", "4.4"),
    _model("gpt-4.1-2025-04-14", "2025-04-14", "2", "0.5", "8"),
    _model("gpt-4.1-mini-2025-04-14", "2025-04-14", "0.4", "0.1", "1.6"),
    _model("gpt-5-2025-08-07", "2025-08-07", "1.25", "0.125", "10"),
    _model("gpt-5-mini-2025-08-07", "2025-08-07", "0.25", "0.025", "2"),
    _model("gpt-5-nano-2025-08-07", "2025-08-07", "0.05", "0.005", "0.4"),
    _model("chat-latest", "2025-08-20", "5", "0.5", "30"),
)

MODELS: Mapping[str, tuple[Model, ...]] = {
    "completions": _CHAT,
    "decisions": (_CHAT[3], *_CHAT[11:]),
    "embeddings": (
        _model("text-embedding-ada-002", "2024-01-01", "0.1"),
        _model("text-embedding-3-small", "2024-01-25", "0.02"),
        _model("text-embedding-3-large", "2024-01-25", "0.13"),
    ),
    "moderations": (
        _model("text-moderation-007", "2024-01-01", "0"),
        _model("omni-moderation-latest", "2024-09-26", "0"),
    ),
    "images": (_model("dall-e-3", "2024-01-01", "40000"), _model("gpt-image-1", "2025-04-23", "42000")),
    "audio_speeches": (_model("tts-1", "2024-01-01", "15"), _model("tts-1-hd", "2024-01-01", "30")),
    "audio_transcriptions": (
        _model("whisper-1", "2024-01-01", "100"),
        _model("gpt-4o-transcribe", "2025-03-20", "100"),
    ),
    "web_search_calls": (_CHAT[3], _CHAT[9], _CHAT[11], _CHAT[12]),
}
GENERIC_MODELS = _CHAT[:4]

CHARGES: Mapping[str, Charge] = {
    "vector_stores": Charge(
        line_item="assistants api | vector store storage", quantity_unit="gibibyte_hours", usd="4166.667"
    ),
    "code_interpreter_sessions": Charge(line_item="assistants api | code interpreter", quantity_unit=None, usd="30000"),
    "file_search_calls": Charge(line_item="assistants api | file search", quantity_unit=None, usd="2500"),
    "web_search_calls": Charge(line_item="web search tool calls", quantity_unit=None, usd="10000"),
}
UNITS_BILLED: Mapping[str, str] = {
    "tokens": "tokens",
    "images": "images",
    "characters": "characters",
    "seconds": "duration_seconds",
}

DIMENSION_VALUES: Mapping[str, Mapping[str | bool | None, int]] = {
    "batch": {False: 85, True: 15},
    "service_tier": {"default": 78, "flex": 10, "priority": 7, None: 5},
    "api_source": {"unlabeled": 88, "agents_api": 12},
    "vector_store_id": {"vs_67f0a1c2handbook": 5, "vs_68019bd4tickets": 3, "vs_6a33e7f0research": 2},
}
WORKLOADS: Mapping[str, int] = {"completions": 105, "decisions": 16, "embeddings": 14, "images": 12, "vector_stores": 9}
USUAL_WORKLOADS = 10

# Of a measure's unit: the smallest and the largest usual value of one event.
EVENT_SIZES: Mapping[str, tuple[int, int]] = {
    "tokens": (40, 60_000),
    "requests": (1, 40),
    "images": (1, 20),
    "characters": (100, 40_000),
    "seconds": (5, 3_600),
    "sessions": (1, 12),
    "bytes": (40_000_000, 9_000_000_000),
}
USUAL_SIZES = (1, 1_000)

ContentKind = Literal["text", "audio", "image"]


def reads_audio(model: str) -> bool:
    """Whether requests to the model carry sound."""
    return "audio" in model or "realtime" in model


def reads_images(model: str) -> bool:
    """Whether some requests to the model carry pictures."""
    return model.removeprefix("ft:").startswith(("gpt-4o", "gpt-5"))
