"""What this warehouse said at a moment: `from usage.costs_as_of(timestamp '2026-11-03 08:00')` in the published file.

Put going back through meta.restatements here. The rows of now are taken, those of days first read later left out, and
each row that changed later put back as its first later change found it.
"""

import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.diff import ledger_struct
from usage_pipeline.lake.engine import identifier, literal, sql_type, width_sql
from usage_pipeline.lake.schemas import PART, usage_schema

_MACRO = """
create or replace macro usage.{name}(at_time) as table
with known_days as (
    select distinct organization, date
    from (
        select organization, unnest(days, recursive := true)
        from (select organization, days from meta.sync_log where endpoint = {endpoint} and committed_at <= at_time)
    )
),
changed_later as (
    select organization, date, bucket_start, bucket_width, key, arg_min(coalesce(before, ''), recorded_at) as before
    from meta.restatements
    where endpoint = {endpoint} and recorded_at > at_time
    group by all
)
select {columns}
from usage.{table} c
anti join changed_later l
    on l.organization = c.organization and l.date = c.date and l.bucket_start = c.bucket_start
    and l.bucket_width = c.bucket_width and l.key = to_json({key})::varchar
semi join known_days d on d.organization = c.organization and d.date = c.date
union all
select {restored}
from (select *, before::json as said, key::json as known_by from changed_later where before <> '') c
semi join known_days d on d.organization = c.organization and d.date = c.date
"""


def as_of_macros() -> list[str]:
    """A statement per endpoint that makes its table macro; it reads the published usage and meta relations."""
    return [_macro(endpoint) for endpoint in ENDPOINTS.values()]


def macro_name(endpoint: Endpoint) -> str:
    """What the endpoint's macro is called in the schema `usage`."""
    return f"{endpoint.name}_as_of"


def _macro(endpoint: Endpoint) -> str:
    schema = [f for f in usage_schema(endpoint) if f.name != PART]
    grain = set(endpoint.grain)
    return _MACRO.format(
        name=identifier(macro_name(endpoint)),
        endpoint=literal(endpoint.name),
        table=identifier(endpoint.name),
        columns=", ".join(f"c.{identifier(f.name)}" for f in schema),
        key=ledger_struct("c", [usage_schema(endpoint).field(name) for name in endpoint.grain]),
        restored=", ".join(_restored(f, is_key=f.name in grain) for f in schema),
    )


def _restored(column: pa.Field, *, is_key: bool) -> str:
    """A column of a row that is put back: from the ledger row's own columns, its key or its values."""
    name = identifier(column.name)
    if column.name in ("organization", "date", "bucket_start", "bucket_width"):
        return f"c.{name}"
    if column.name == "bucket_end":
        return f"c.bucket_start + {width_sql('c.bucket_width')} as bucket_end"
    value = f"c.{'known_by' if is_key else 'said'}->>{literal(column.name)}"
    return f"({value})::{sql_type(column.type)} as {name}"
