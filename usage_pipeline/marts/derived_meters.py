"""What usage consists of, meter by meter: quantities that can be priced, each counted once.

Put the splitting of measures into meters here; prices are in `dims.prices`, and `usage_priced.sql` joins the two.
"""

from collections.abc import Iterator

from usage_pipeline.endpoints import ENDPOINTS, Endpoint, Measure
from usage_pipeline.lake.engine import identifier, literal
from usage_pipeline.lake.snapshot import Relation

METERS_VIEW = "derived.usage_meters"
FALLBACKS_VIEW = "derived.meter_fallbacks"

_DIMENSIONS = (
    ("project_id", "varchar"),
    ("user_id", "varchar"),
    ("api_key_id", "varchar"),
    ("model", "varchar"),
    ("batch", "boolean"),
    ("service_tier", "varchar"),
)
_REQUESTS = "num_model_requests"  # requests to a model cost nothing beyond their tokens, images or seconds
_UNIT_METERS = {
    "images": "images",
    "characters": "characters",
    "seconds": "seconds",
    "sessions": "sessions",
    "requests": "requests",
    "bytes": "storage",
}

# Token meter -> what counts it, given the columns of _PARTS below; together they are input_tokens + output_tokens.
TOKEN_METERS = {
    "input": "uncached - audio_in - image_in",
    "cached input": "cached - cached_audio - cached_image",
    "cache write": "written",
    "output": "total_out - audio_out - image_out",
    "audio input": "audio_in",
    "cached audio input": "cached_audio",
    "audio output": "audio_out",
    "image input": "image_in",
    "cached image input": "cached_image",
    "image output": "image_out",
}
# A meter without a price of its own costs what the less special one costs (the price book's own rule), nearest first.
_FALLBACKS = {
    "cached input": ("input",),
    "cache write": ("input",),
    "audio input": ("input",),
    "cached audio input": ("cached input", "audio input", "input"),
    "image input": ("input",),
    "cached image input": ("cached input", "image input", "input"),
    "audio output": ("output",),
    "image output": ("output",),
}

_TOKEN_MEASURES = tuple(
    measure.name for measure in ENDPOINTS["completions"].measures if measure.name.startswith(("input_", "output_"))
)


def meter_relations() -> list[Relation]:
    """`derived.usage_meters` and `derived.meter_fallbacks`."""
    return [
        Relation(schema="derived", name="usage_meters", sql=_usage_meters(), comment="Usage by meter."),
        Relation(schema="derived", name="meter_fallbacks", sql=_meter_fallbacks(), comment="Whose price stands in."),
    ]


def known_meters() -> list[str]:
    """Every meter a price can be for: those usage has, and one per tool beside `requests`, which means any tool."""
    units = [(endpoint, _unit_meter_name(endpoint, m)) for endpoint in _priceable() for m in _unit_measures(endpoint)]
    tools = [tool_meter(endpoint) for endpoint, meter in units if meter == _UNIT_METERS["requests"]]
    return list(dict.fromkeys([*TOKEN_METERS, *(meter for _, meter in units), *tools]))


def tool_meter(endpoint: Endpoint) -> str:
    """The meter whose price is for one endpoint's tool calls alone."""
    return endpoint.name.replace("_", " ")


def _priceable() -> list[Endpoint]:
    return [endpoint for endpoint in ENDPOINTS.values() if not endpoint.is_money]


def _meter_fallbacks() -> str:
    """Columns meter, price_meter and distance."""
    rows = ", ".join(
        f"({literal(meter)}, {literal(other)}, {distance})"
        for meter, others in _FALLBACKS.items()
        for distance, other in enumerate(others, start=1)
    )
    return f"select meter, price_meter, distance from (values {rows}) as fallbacks(meter, price_meter, distance)"  # noqa: S608


def _usage_meters() -> str:
    selects = [_token_meters([endpoint for endpoint in _priceable() if _has_tokens(endpoint)])]
    selects += [_unit_meter(endpoint, measure) for endpoint in _priceable() for measure in _unit_measures(endpoint)]
    return "\nunion all ".join(selects)


def _has_tokens(endpoint: Endpoint) -> bool:
    return any(measure.name in {"input_tokens", "output_tokens"} for measure in endpoint.measures)


def _unit_measures(endpoint: Endpoint) -> Iterator[Measure]:
    """The measures that are a meter of their own: all but the token counts and the requests to models."""
    for measure in endpoint.measures:
        is_token_part = _has_tokens(endpoint) and measure.name.startswith(("input_", "output_"))
        if not is_token_part and (measure.name != _REQUESTS or len(endpoint.measures) == 1):
            yield measure


def _key(endpoint: Endpoint) -> str:
    """The dimensions every row has, null where the endpoint has none such."""
    names = endpoint.dimension_names
    found = ", ".join(name if name in names else f"null::{kind} as {name}" for name, kind in _DIMENSIONS)
    tiered = f"{str('service_tier' in names).lower()} as has_tiers, {str('batch' in names).lower()} as has_batch"
    return f"organization, date, {literal(endpoint.name)} as endpoint, {found}, {tiered}"


def _unit_meter_name(endpoint: Endpoint, measure: Measure) -> str:
    """The meter of a measure: its unit's, or its own name where several have that unit or none is known for it."""
    is_alone = sum(other.unit == measure.unit for other in _unit_measures(endpoint)) == 1
    return _UNIT_METERS.get(measure.unit if is_alone else "", measure.name.replace("_", " "))


def _unit_meter(endpoint: Endpoint, measure: Measure) -> str:
    """One measure as a meter. A level counts as held for the day: byte_days may be added up, bytes may not."""
    name = identifier(measure.name)
    unit, source = measure.unit, f"select * from usage.{identifier(endpoint.name)}"  # noqa: S608 - own names
    if not measure.is_additive:
        unit = f"{measure.unit.removesuffix('s')}_days"
        source += " qualify bucket_start = max(bucket_start) over (partition by organization, date)"
    return (
        f"select {_key(endpoint)}, {literal(_unit_meter_name(endpoint, measure))} as meter, "  # noqa: S608
        f"{literal(unit)} as unit, sum({name})::bigint as quantity "
        f"from ({source}) group by all having sum({name}) <> 0"
    )


def _token_meters(endpoints: list[Endpoint]) -> str:
    """All token endpoints' rows, their tokens split into meters row by row and then added up."""
    sums = ", ".join(f"sum({count})::bigint as {identifier(meter)}" for meter, count in TOKEN_METERS.items())
    told = ", ".join(f"{{meter: {literal(meter)}, quantity: {identifier(meter)}}}" for meter in TOKEN_METERS)
    names = "organization, date, endpoint, " + ", ".join(name for name, _ in _DIMENSIONS) + ", has_tiers, has_batch"
    return (
        f"select {names}, told.meter, 'tokens' as unit, told.quantity from ("  # noqa: S608 - own names
        f"select {names}, unnest([{told}]) as told from ("
        f"select {names}, {sums} from ({_parts(_token_rows(endpoints))}) group by all)) where told.quantity <> 0"
    )


def _token_rows(endpoints: list[Endpoint]) -> str:
    """Rows of the token endpoints with all token measures; those an endpoint lacks are null."""
    selects = []
    for endpoint in endpoints:
        has = {measure.name for measure in endpoint.measures}
        measures = ", ".join(name if name in has else f"null::bigint as {name}" for name in _TOKEN_MEASURES)
        selects.append(f"select {_key(endpoint)}, {measures} from usage.{identifier(endpoint.name)}")  # noqa: S608
    return " union all ".join(selects)


def _within(count: str, limit: str) -> str:
    """A count (null: 0) held between 0 and what there is."""
    return f"greatest(least(coalesce({count}, 0), {limit}), 0)"


def _parts(rows: str) -> str:
    """The counts the meters are made of. The totals rule: a part larger than what is left of its total is cut to it.

    Where cached tokens are not given they are what their parts add up to, or what input leaves over the uncached ones.
    Before mid-2026 the service counted cached audio in input_audio_tokens too: there it is taken out.
    """
    cached_parts = " + ".join(f"coalesce(input_cached_{kind}_tokens, 0)" for kind in ("text", "audio", "image"))
    written = (
        "coalesce(input_cache_write_tokens, "
        "coalesce(input_cache_write_30m_tokens, 0) + coalesce(input_cache_write_12h_tokens, 0))"
    )
    cached = (
        f"coalesce(input_cached_tokens, nullif({cached_parts}, 0), "
        f"case when input_uncached_tokens > 0 then input_tokens - input_uncached_tokens - {written} end)"
    )
    uncached_parts = " + ".join(f"coalesce(input_{kind}_tokens, 0)" for kind in ("text", "audio", "image"))
    audio = f"input_audio_tokens - case when {uncached_parts} = uncached + cached_audio then cached_audio else 0 end"
    steps = (
        "coalesce(input_tokens, 0) as total_in, coalesce(output_tokens, 0) as total_out",
        f"{_within(cached, 'total_in')} as cached",
        f"{_within(written, 'total_in - cached')} as written, "
        f"{_within('input_cached_audio_tokens', 'cached')} as cached_audio",
        "total_in - cached - written as uncached, "
        f"{_within('input_cached_image_tokens', 'cached - cached_audio')} as cached_image",
        f"{_within(audio, 'uncached')} as audio_in, {_within('output_audio_tokens', 'total_out')} as audio_out",
        f"{_within('input_image_tokens', 'uncached - audio_in')} as image_in, "
        f"{_within('output_image_tokens', 'total_out - audio_out')} as image_out",
    )
    for step in steps:
        rows = f"select *, {step} from ({rows})"  # noqa: S608 - own text
    return rows
