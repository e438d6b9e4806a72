"""Views made from the endpoint table for marts that span endpoints: a new endpoint joins them by its row alone.

Put SQL generated from the endpoint table here; SQL a person can write belongs in a mart's file.
"""

from usage_pipeline.endpoints import ENDPOINTS, Endpoint, Measure
from usage_pipeline.lake.engine import identifier, literal
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.marts.derived_lines import line_inputs, line_relations
from usage_pipeline.marts.derived_meters import meter_inputs, meter_relations
from usage_pipeline.marts.derived_names import name_inputs, name_relations
from usage_pipeline.marts.views import BLANK_VIEW, blank_relation

_MODEL_MEASURES = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
_VALUE = "decimal(38, 20)"  # wide enough for money's digits and for any day's tokens


def derived_relations() -> list[Relation]:
    """`derived.daily_measures`, `derived.model_usage`, the views of billing lines, and names by day."""
    return [
        Relation(schema="derived", name="daily_measures", sql=_daily_measures(), comment="Measures per day, long."),
        Relation(schema="derived", name="model_usage", sql=_model_usage(), comment="Rows of endpoints with models."),
        *line_relations(),
        *meter_relations(),
        *name_relations(),
        blank_relation(),
    ]


def derived_inputs() -> dict[str, set[str]]:
    """The tables of usage and dims each derived view reads."""
    return {
        "derived.daily_measures": {f"usage.{name}" for name in ENDPOINTS},
        "derived.model_usage": {f"usage.{endpoint.name}" for endpoint in _with_models()},
        **line_inputs(),
        **meter_inputs(),
        **name_inputs(),
        BLANK_VIEW: set(),
    }


def _with_models() -> list[Endpoint]:
    return [endpoint for endpoint in ENDPOINTS.values() if "model" in endpoint.dimension_names]


def _model_usage() -> str:
    selects = []
    for endpoint in _with_models():
        has = {m.name for m in endpoint.measures}
        measures = ", ".join(
            identifier(name) if name in has else f"null::bigint as {identifier(name)}" for name in _MODEL_MEASURES
        )
        selects.append(
            f"select organization, date, {literal(endpoint.name)} as endpoint, project_id, model, {measures} "  # noqa: S608
            f"from usage.{identifier(endpoint.name)}"
        )
    return "\nunion all ".join(selects)


def _daily_measures() -> str:
    return "\nunion all ".join(
        _one_measure(endpoint, measure) for endpoint in ENDPOINTS.values() for measure in endpoint.measures
    )


def _one_measure(endpoint: Endpoint, measure: Measure) -> str:
    """One measure of one endpoint per day and project; rows where the service gave no number do not count."""
    labels = {label.name for label in endpoint.labels}
    unit = identifier(measure.unit) if measure.unit in labels else literal(measure.unit)
    name = identifier(measure.name)
    source = f"select * from usage.{identifier(endpoint.name)} where {name} is not null"  # noqa: S608 - own names
    if not measure.is_additive:
        # A level: add it up over groups, never over time; the day's last bucket says how it stood.
        source += " qualify bucket_start = max(bucket_start) over (partition by organization, date)"
    return (
        f"select organization, date, {literal(endpoint.name)} as endpoint, project_id, "  # noqa: S608 - own names
        f"{literal(measure.name)} as measure, {unit} as unit, {str(measure.is_additive).lower()} as is_additive, "
        f"sum({name})::{_VALUE} as value from ({source}) group by all"
    )
