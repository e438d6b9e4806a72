"""The grammar of billing lines and model names as views: `derived.cost_lines`, `billed_rows` and `models`.

Put parsing of what the service writes as display strings here; spreading what was billed is marts/cost_allocated.sql's.
The strings are undocumented, so the raw text is kept beside its nullable parts, and no part is a key of anything.
"""

import re

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.engine import identifier, literal
from usage_pipeline.lake.snapshot import Relation

# Directions seen, or of the same making, once `_` is a space and "text" and a final "tokens" are gone.
_METERS = (
    *("input", "cached input", "cache write", "output", "audio input", "cached audio input", "audio output"),
    *("image input", "cached image input", "image output"),
)
_ALIASES = {
    "audio cached input": "cached audio input",
    "image cached input": "cached image input",
    "cache writes": "cache write",
}
_TRAINING = r"^(.*\S)?[ ,]*\btraining$"
_STORAGE = r"\bstorage\b"
_CREDIT = r"\b(credits?|refund|adjustment|discount|grant|promo)"
# One word with a digit or a mark in it, or a name seen with a space before its number.
_MODEL = r"^(\S*[-.:0-9]\S*|dall-e \d\S*)$"
_TOOL_NAME = re.compile(r"(?P<tool>\w+)_(?P<counted>calls|sessions)")
_STORES = "vector_stores"

# What a bill's line is called, as the marts have it; the raw text of a blank one is in usage.costs.
LINE_ITEM = "case when regexp_matches(line_item, '\\S') then line_item end"

# Rows that differ only in what no usage tells apart (the source, the unit) are one. `is_by_*`: whether the day's bill
# tells this dimension at all; where it does not, its nulls stand for any value. A blank line item is none. Tools' lines
# have quantities without a unit: those of one line item are alike, and of no other.
_BILLED_ROWS = f"""
select
    *,
    bool_or(project_id is not null) over one_day as is_by_project,
    bool_or(line_item is not null) over one_day as is_by_line,
    bool_or(model_key is not null) over one_day as is_by_model,
    bool_or(api_key_id is not null) over one_day as is_by_key,
    bool_or(user_id is not null) over one_day as is_by_user
from (
    select
        organization, date, project_id, {LINE_ITEM} as line_item, api_key_id, user_id, currency,
        line_kind, line_meter, line_endpoint, line_model, model_key, model_family, is_credit,
        sum(amount) as amount,
        case
            when count(quantity) = count(*) and count(quantity_unit) in (0, count(*))
                and min(quantity_unit) is not distinct from max(quantity_unit)
                then sum(quantity)
        end as quantity,
        min(quantity_unit) as quantity_unit
    from derived.cost_lines
    where amount is not null
    group by all
)
window one_day as (partition by organization, date)"""  # noqa: S608 - own text


def line_relations() -> list[Relation]:
    """`derived.cost_lines`, `derived.billed_rows` over it, `derived.models_used`, and `derived.models` over it."""
    return [
        Relation(schema="derived", name="cost_lines", sql=_cost_lines(), comment="Billed rows with line items parsed."),
        Relation(schema="derived", name="billed_rows", sql=_BILLED_ROWS, comment="What a bill tells apart, summed."),
        Relation(schema="derived", name="models_used", sql=_models_used(), comment="Models used, each day."),
        Relation(schema="derived", name="models", sql=_models(), comment="Models used, with their comparable names."),
    ]


def model_key_sql(model: str) -> str:
    """A model's name as bills and usage both would write it: `ft:base:org::id` is `ft-base`."""
    return f"regexp_replace(replace(lower(trim({model})), ' ', '-'), '^ft:([^:]+).*$', 'ft-\\1')"


def base_model_sql(key: str) -> str:
    """The model a fine-tune was made from; any other model is its own."""
    return f"regexp_replace({key}, '^ft-', '')"


def model_family_sql(base: str) -> str:
    """A base model without its date."""
    return f"regexp_replace({base}, '-(\\d{{4}}-\\d{{2}}-\\d{{2}}|\\d{{4}})$', '')"


def _billing() -> list[Endpoint]:
    return [endpoint for endpoint in ENDPOINTS.values() if "line_item" in endpoint.dimension_names]


def _with_models() -> list[Endpoint]:
    return [endpoint for endpoint in ENDPOINTS.values() if "model" in endpoint.dimension_names]


def _models_used() -> str:
    """The distinct models of each day."""
    return "\nunion ".join(
        f"select organization, date, model from usage.{identifier(endpoint.name)}"  # noqa: S608 - own names
        for endpoint in _with_models()
    )


def _models() -> str:
    """The models used, with the names by which bills and usage can be compared."""
    return (
        f"select *, {model_family_sql('base_model')} as model_family from ("  # noqa: S608 - own text
        f"select *, {base_model_sql('model_key')} as base_model from ("
        f"select organization, date, model, {model_key_sql('model')} as model_key from derived.models_used))"
    )


def _tool_cases(then_counted: bool) -> str:
    """`when the text names a tool then ...`, for each endpoint that counts a tool's calls or sessions."""
    cases = []
    for name in ENDPOINTS:
        if found := _TOOL_NAME.fullmatch(name):
            meter = "sessions" if found["counted"] == "sessions" else "requests"
            phrase = literal(found["tool"].replace("_", " "))
            cases.append(f"when contains(plain, {phrase}) then {literal(meter if then_counted else name)}")
    return " ".join(cases) or "when false then null"


def _directed() -> str:
    """The billed rows, and each line item once: surface, rest and last part, with the meter that part means."""
    billed = "\nunion all ".join(
        "select organization, date, project_id, user_id, api_key_id, line_item, currency, amount, quantity, "  # noqa: S608
        f"quantity_unit from usage.{identifier(endpoint.name)}"
        for endpoint in _billing()
    )
    return f"""
billed as ({billed}),
cut as (
    select line_item,
        case when contains(line_item, ' | ') then trim(split_part(line_item, ' | ', 1)) end as surface,
        trim(regexp_replace(line_item, '^.*? \\| ', '')) as rest,
        lower(rest) as plain
    from (select distinct line_item from billed)
),
directed as (
    select *,
        nullif(trim(regexp_extract(rest, '^(?:.*, )?([^,]*)$', 1)), '') as last_part,
        trim(regexp_replace(replace(lower(last_part), '_', ' '), '\\b(text|tokens?)\\b', '', 'g')) as bare,
        {_alias_sql("regexp_replace(bare, ' +', ' ', 'g')")} as said,
        case when said in ({", ".join(map(literal, _METERS))}) then said end as meter
    from cut
)"""  # noqa: S608 - own text and names


def _cost_lines() -> str:
    """Each step names what the next one needs, as a chain of selects over the line items: there are few of them, and
    parsing takes time.
    """
    return f"""
with {_directed()},
named as (
    select *,
        case when contains(rest, ', ') or meter is not null then last_part end as direction,
        nullif(trim(case
            when meter is not null then regexp_replace(rest, '(^|, *)[^,]*$', '')
            when regexp_matches(plain, {literal(_TRAINING)}) then rest[:-9]
            else split_part(rest, ',', 1)
        end, ' ,'), '') as head,
        case
            when regexp_matches(plain, {literal(_STORAGE)}) then {literal(_STORES)}
            {_tool_cases(then_counted=False)}
        end as tool_endpoint
    from directed
),
sorted_out as (
    select *,
        coalesce(meter is null and regexp_matches(plain, {literal(_CREDIT)}), false) as is_credit,
        case
            when line_item is null or is_credit then 'other'
            when meter is not null then 'model'
            when regexp_matches(plain, {literal(_STORAGE)}) then 'storage'
            when regexp_matches(plain, {literal(_TRAINING)}) then 'training'
            when tool_endpoint is not null or regexp_matches(plain, '\\btool calls?$') then 'tool'
            when regexp_matches(lower(head), {literal(_MODEL)}) then 'model'
            when surface is not null then 'tool'
            else 'other'
        end as line_kind,
        case when line_kind in ('model', 'training') then head end as line_model
    from named
)
select
    b.organization, b.date, b.project_id, b.user_id, b.api_key_id, b.line_item, b.currency, b.amount, b.quantity,
    b.quantity_unit, surface, direction, line_kind, is_credit,
    case line_kind
        when 'model' then meter
        when 'training' then 'training'
        when 'storage' then 'storage'
        when 'tool' then case {_tool_cases(then_counted=True)} end
    end as line_meter,
    case when line_kind in ('tool', 'storage') then tool_endpoint end as line_endpoint,
    line_model,
    {model_key_sql("line_model")} as model_key,
    {base_model_sql(model_key_sql("line_model"))} as base_model,
    {model_family_sql(base_model_sql(model_key_sql("line_model")))} as model_family
from billed b
join sorted_out s on b.line_item is not distinct from s.line_item"""  # noqa: S608 - own text and names


def _alias_sql(said: str) -> str:
    """The text, or the usual form of it."""
    cases = " ".join(f"when {literal(other)} then {literal(usual)}" for other, usual in _ALIASES.items())
    return f"case {said} {cases} else {said} end"
