"""Views made from the endpoint table for marts that span endpoints: a new endpoint joins them by its row alone.

Put SQL generated from the endpoint table here; SQL a person can write belongs in a mart's file.
"""

from collections.abc import Iterable
from functools import cache

from usage_pipeline.endpoints import ENDPOINTS, Endpoint, Measure
from usage_pipeline.lake.engine import identifier, literal, tables_read
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.marts.derived_lines import line_relations
from usage_pipeline.marts.derived_meters import meter_relations
from usage_pipeline.marts.derived_names import name_relations
from usage_pipeline.marts.views import blank_relation

# What adds up or tells apart the rows of usage, day by day: as heavy as there are rows, which only these views read one
# by one. Plain SQL, so that another engine can compute them (spark.py).
GROUPED_VIEWS = ("daily_measures", "model_usage", "usage_meters", "models_used")

# Costly to plan, small (bills have a row per day and line), and read by several marts.
SHARED_VIEWS = {"billed_rows", "models"}

_MODEL_MEASURES = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
_VALUE = "decimal(38, 20)"  # wide enough for money's digits and for any day's tokens


def derived_relations() -> list[Relation]:
    """Every derived view, each after those it reads."""
    return [
        Relation(schema="derived", name="daily_measures", sql=_daily_measures(), comment="Measures per day, long."),
        Relation(schema="derived", name="model_usage", sql=_model_usage(), comment="Tokens and requests by model."),
        *line_relations(),
        *meter_relations(),
        *name_relations(),
        blank_relation(),
    ]


def derived_behind(tables: Iterable[str]) -> list[Relation]:
    """The derived views among the tables, and those behind these, each after what it reads."""
    return _behind(tables)[0]


def sources_of(tables: Iterable[str]) -> frozenset[str]:
    """The tables, and all that the derived views among them read, as `schema.name`."""
    return frozenset(_behind(tables)[1])


def _behind(tables: Iterable[str]) -> tuple[list[Relation], set[str]]:
    found, seen = [], set(tables)
    for relation, reads in reversed(_with_reads(tuple(ENDPOINTS))):
        if f"{relation.schema}.{relation.name}" in seen:
            found.append(relation)
            seen |= reads
    return found[::-1], seen


@cache
def _with_reads(_endpoints: tuple[str, ...]) -> list[tuple[Relation, frozenset[str]]]:
    """Every derived view with the tables it reads; the answer changes only with the endpoint table."""
    return [(relation, tables_read(relation.sql)) for relation in derived_relations()]


def _with_models() -> list[Endpoint]:
    return [endpoint for endpoint in ENDPOINTS.values() if "model" in endpoint.dimension_names]


def _model_usage() -> str:
    """What the endpoints with models count alike, per day, project and model."""
    selects = []
    for endpoint in _with_models():
        has = {m.name for m in endpoint.measures}
        measures = ", ".join(
            f"{f'sum({identifier(name)})::bigint' if name in has else 'null::bigint'} as {identifier(name)}"
            for name in _MODEL_MEASURES
        )
        selects.append(
            f"select organization, date, {literal(endpoint.name)} as endpoint, project_id, model, {measures} "  # noqa: S608
            f"from usage.{identifier(endpoint.name)} group by all"
        )
    return "\nunion all ".join(selects)


def _daily_measures() -> str:
    return "\nunion all ".join(map(_measures_of, ENDPOINTS.values()))


def _measures_of(endpoint: Endpoint) -> str:
    """An endpoint's measures per day and project, long; where the service gave no number there is no row.

    They are added up before they are made long, for there are many rows; and after, for labels may be units.
    """
    labels = [identifier(label.name) for label in endpoint.labels]
    key = ", ".join(["organization, date, project_id", *labels])
    counted = ", ".join(f"{_counted(measure)} as {identifier(measure.name)}" for measure in endpoint.measures)
    sums = ", ".join(f"sum({name})::{_VALUE} as {name}" for name in (identifier(m.name) for m in endpoint.measures))
    told = ", ".join(_told(endpoint, measure) for measure in endpoint.measures)
    rows = f"select {key}, {counted} from usage.{identifier(endpoint.name)}"  # noqa: S608 - own names
    return (
        f"select organization, date, {literal(endpoint.name)} as endpoint, project_id, "  # noqa: S608 - own names
        f"told.measure, told.unit, told.is_additive, sum(told.value)::{_VALUE} as value "
        f"from (select organization, date, project_id, unnest([{told}]) as told "
        f"from (select {key}, {sums} from ({rows}) group by all)) "
        "where told.value is not null group by all"
    )


def _counted(measure: Measure) -> str:
    """What of a row counts: all but a level before the day's last bucket that has a number.

    A level may be added up over groups, never over time.
    """
    name = identifier(measure.name)
    if measure.is_additive:
        return name
    last = f"max(bucket_start) filter ({name} is not null) over (partition by organization, date)"
    return f"case when bucket_start = {last} then {name} end"


def _told(endpoint: Endpoint, measure: Measure) -> str:
    """One measure as a struct."""
    labels = {label.name for label in endpoint.labels}
    unit = identifier(measure.unit) if measure.unit in labels else literal(measure.unit)
    return (
        f"{{measure: {literal(measure.name)}, unit: {unit}, is_additive: {str(measure.is_additive).lower()}, "
        f"value: {identifier(measure.name)}}}"
    )
