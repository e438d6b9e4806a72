"""The one table: what the usage and costs API serves, one row per endpoint.

Put facts of the API here (paths, dimensions, measures, page limits) and nothing that acts on them; request
parameters, validation, Arrow schemas, lake tables, assets, the local API server and the README are derived.
Source: openai Python package 3.54.0 (2026-11-17), checked against openai-openapi f85dbe2 (2026-08-21).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

BucketWidth = Literal["1m", "1h", "1d"]
ColumnKind = Literal["text", "flag", "count", "money", "quantity"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """A field results can be grouped by; null where the request did not group by it.

    `filter` is the query parameter that restricts to given values (a list, or one boolean for a flag).
    """

    name: str
    description: str
    filter: str | None = None
    kind: ColumnKind = "text"
    known_values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A number of a result. `is_additive=False` (semi-additive) may never be summed over time."""

    name: str
    unit: str
    description: str
    is_required: bool = True
    is_additive: bool = True
    kind: ColumnKind = "count"


@dataclass(frozen=True, kw_only=True, slots=True)
class PageLimit:
    """How many buckets one page holds: by default, and at most."""

    default: int
    maximum: int


_USAGE_LIMITS: Mapping[BucketWidth, PageLimit] = {
    "1m": PageLimit(default=60, maximum=1440),
    "1h": PageLimit(default=24, maximum=168),
    "1d": PageLimit(default=7, maximum=31),
}
_COSTS_LIMITS: Mapping[BucketWidth, PageLimit] = {"1d": PageLimit(default=7, maximum=180)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One row of the table. `labels` are text fields that qualify a measure and belong to the grain.

    `droppable` lists dimensions the service may refuse for some windows, the first to give up first.
    `known_extras` are undocumented fields seen live: kept in `extras` and no cause for a drift warning.
    """

    name: str
    path: str
    result_object: str
    description: str
    dimensions: tuple[Dimension, ...]
    measures: tuple[Measure, ...]
    labels: tuple[Dimension, ...] = ()
    droppable: tuple[str, ...] = ()
    known_extras: frozenset[str] = frozenset()
    page_limits: Mapping[BucketWidth, PageLimit] = field(default_factory=lambda: _USAGE_LIMITS)

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """Every value `group_by` accepts, in the API's order."""
        return tuple(d.name for d in self.dimensions)

    @property
    def filters(self) -> Mapping[str, Dimension]:
        """Query parameter -> the dimension it restricts."""
        return {d.filter: d for d in self.dimensions if d.filter is not None}

    @property
    def grain(self) -> tuple[str, ...]:
        """The columns that, with organization and bucket_start, identify a row."""
        return self.dimension_names + tuple(label.name for label in self.labels)

    @property
    def is_money(self) -> bool:
        """Whether results carry an amount (and so take the exact-decimal path everywhere)."""
        return any(m.kind == "money" for m in self.measures)

    def width_for(self, wanted: BucketWidth) -> BucketWidth:
        """The wanted bucket width where this endpoint serves it, else its widest (costs: 1d only)."""
        return wanted if wanted in self.page_limits else "1d"


_PROJECT = Dimension(name="project_id", filter="project_ids", description="Project the usage belongs to.")
_USER = Dimension(name="user_id", filter="user_ids", description="User who made the requests.")
_API_KEY = Dimension(name="api_key_id", filter="api_key_ids", description="API key the requests were made with.")
_MODEL = Dimension(name="model", filter="models", description="Model name; fine-tunes are `ft:base:org:name`.")
_BATCH = Dimension(name="batch", filter="batch", kind="flag", description="Whether the requests came by the Batch API.")
_SERVICE_TIER = Dimension(name="service_tier", description="Service tier of the requests.")
_API_SOURCE = Dimension(
    name="api_source",
    known_values=("agents_api", "unlabeled"),
    description="`agents_api`, or `unlabeled` where the service publishes no source.",
)
_SIZE = Dimension(
    name="size",
    filter="sizes",
    known_values=("256x256", "512x512", "1024x1024", "1792x1792", "1024x1792"),
    description="Image size.",
)
_SOURCE = Dimension(
    name="source",
    filter="sources",
    known_values=("image.generation", "image.edit", "image.variation"),
    description="What made the image.",
)
_VECTOR_STORE = Dimension(name="vector_store_id", filter="vector_store_ids", description="Vector store searched.")
_CONTEXT_LEVEL = Dimension(
    name="context_level",
    filter="context_levels",
    known_values=("low", "medium", "high"),
    description="Search context size.",
)
_LINE_ITEM = Dimension(
    name="line_item", filter="line_items", description="Billing line, an undocumented display string."
)
_CURRENCY = Dimension(name="currency", description="Currency of the amount, as the service writes it (`usd`).")
_QUANTITY_UNIT = Dimension(
    name="quantity_unit",
    known_values=(
        "tokens",
        "1000_tokens",
        "duration_seconds",
        "duration_minutes",
        "duration_hours",
        "gibibyte_hours",
        "images",
        "characters",
    ),
    description="Unit of the quantity; null where no single unit applies.",
)

_WHO = (_PROJECT, _USER, _API_KEY)
_REQUESTS = Measure(name="num_model_requests", unit="requests", description="Requests made to the model.")


def _tokens(name: str, description: str, *, is_required: bool = False) -> Measure:
    return Measure(name=name, unit="tokens", description=description, is_required=is_required)


_TOKEN_MEASURES = (
    _tokens("input_tokens", "Input tokens: cached, cache-write and uncached together.", is_required=True),
    _tokens("output_tokens", "Output tokens: text, audio and image together.", is_required=True),
    _REQUESTS,
    _tokens("input_uncached_tokens", "Input tokens not read from the cache, without cache writes."),
    _tokens("input_cached_tokens", "Input tokens read from the cache."),
    _tokens("input_cache_write_tokens", "Input tokens written to the cache."),
    _tokens("input_cache_write_30m_tokens", "Cache writes kept for 30 minutes."),
    _tokens("input_cache_write_12h_tokens", "Cache writes kept for 12 hours."),
    _tokens("input_text_tokens", "Uncached text input tokens."),
    _tokens("input_audio_tokens", "Uncached audio input tokens (cached ones too before mid-2026)."),
    _tokens("input_image_tokens", "Uncached image input tokens."),
    _tokens("input_cached_text_tokens", "Cached text input tokens."),
    _tokens("input_cached_audio_tokens", "Cached audio input tokens."),
    _tokens("input_cached_image_tokens", "Cached image input tokens."),
    _tokens("output_text_tokens", "Text output tokens."),
    _tokens("output_audio_tokens", "Audio output tokens."),
    _tokens("output_image_tokens", "Image output tokens."),
)
_INPUT_TOKENS = _tokens("input_tokens", "Input tokens.", is_required=True)
_TOOL_CALLS = Measure(name="num_requests", unit="requests", description="Tool calls made.")


def _usage(
    name: str,
    description: str,
    dimensions: tuple[Dimension, ...],
    measures: tuple[Measure, ...],
    result: str | None = None,
) -> Endpoint:
    """A row of the usage family; `result` only where the result object is not the path's name."""
    return Endpoint(
        name=name,
        path=f"/organization/usage/{name}",
        result_object=f"organization.usage.{result or name}.result",
        description=description,
        dimensions=dimensions,
        measures=measures,
    )


_ROWS = (
    _usage(
        "completions",
        "Tokens and requests of the chat, completions and responses APIs.",
        (*_WHO, _MODEL, _BATCH, _SERVICE_TIER, _API_SOURCE),
        _TOKEN_MEASURES,
    ),
    _usage(
        "decisions",
        "Tokens and requests of the decisions API.",
        (*_WHO, _MODEL, _BATCH, _SERVICE_TIER, _API_SOURCE),
        _TOKEN_MEASURES,
    ),
    _usage("embeddings", "Tokens embedded.", (*_WHO, _MODEL), (_INPUT_TOKENS, _REQUESTS)),
    _usage("moderations", "Tokens moderated.", (*_WHO, _MODEL), (_INPUT_TOKENS, _REQUESTS)),
    _usage(
        "images",
        "Images made, edited or varied.",
        (*_WHO, _MODEL, _SIZE, _SOURCE),
        (Measure(name="images", unit="images", description="Images processed."), _REQUESTS),
    ),
    _usage(
        "audio_speeches",
        "Characters spoken.",
        (*_WHO, _MODEL),
        (Measure(name="characters", unit="characters", description="Characters processed."), _REQUESTS),
    ),
    _usage(
        "audio_transcriptions",
        "Seconds of audio transcribed.",
        (*_WHO, _MODEL),
        (Measure(name="seconds", unit="seconds", description="Seconds of audio processed."), _REQUESTS),
    ),
    _usage(
        "vector_stores",
        "Bytes held in vector stores.",
        (_PROJECT,),
        (
            Measure(
                name="usage_bytes",
                unit="bytes",
                is_additive=False,
                description="Bytes stored; a level, never to be summed over time.",
            ),
        ),
    ),
    _usage(
        "code_interpreter_sessions",
        "Code interpreter sessions.",
        (_PROJECT,),
        (Measure(name="num_sessions", unit="sessions", description="Sessions started."),),
    ),
    _usage("file_search_calls", "File search tool calls.", (*_WHO, _VECTOR_STORE), (_TOOL_CALLS,), "file_searches"),
    _usage(
        "web_search_calls",
        "Web search tool calls.",
        (*_WHO, _MODEL, _CONTEXT_LEVEL, _API_SOURCE),
        (_TOOL_CALLS, _REQUESTS),
        "web_searches",
    ),
    Endpoint(
        name="costs",
        path="/organization/costs",
        result_object="organization.costs.result",
        description="Money billed per day, the figures finance should use.",
        dimensions=(_PROJECT, replace(_USER, filter=None), _LINE_ITEM, _API_KEY, _API_SOURCE),
        measures=(
            Measure(name="amount", unit="currency", kind="money", is_required=False, description="Money billed."),
            Measure(
                name="quantity",
                unit="quantity_unit",
                kind="quantity",
                is_required=False,
                description="Quantity billed, in quantity_unit.",
            ),
        ),
        labels=(_CURRENCY, _QUANTITY_UNIT),
        # user_id together with project_id can be refused (documented); the project explains more of a bill.
        droppable=("user_id", "api_source", "api_key_id"),
        known_extras=frozenset({"organization_id", "organization_name", "project_name", "user_email"}),
        page_limits=_COSTS_LIMITS,
    ),
)

ENDPOINTS: dict[str, Endpoint] = {row.name: row for row in _ROWS}
