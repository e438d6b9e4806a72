"""Names by day: `derived.project_names`, `user_names`, `api_key_names`, `service_account_names`, `admin_key_names`.

Put views over the slowly changing dims tables here. For each id and day they have exactly one version:

    left join derived.project_names n
        on n.organization = u.organization and n.id = u.project_id and u.date >= n.from_date and u.date < n.until_date

A version counts from the day it was first seen on, the first one from the beginning of time (usage from before the
first sighting has that name), the last one for ever (a deleted id keeps its last name).
"""

from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.engine import identifier
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.name_lists import NAME_LISTS, NameList

_VERSIONS = """
select
    organization, id, {attributes},
    deleted_at is not null as is_deleted,
    case when row_number() over version = 1 then date '0001-01-01' else valid_from::date end as from_date,
    coalesce((lead(valid_from) over version)::date, date '9999-12-31') as until_date
from dims.{table}
window version as (partition by organization, id order by valid_from)
"""


def name_relations() -> list[Relation]:
    """One view per list of names."""
    return [names_relation(names) for names in NAME_LISTS.values()]


def names_relation(names: NameList) -> Relation:
    """The view over one list's table."""
    comment = f"Names in {names.label}, one per id and day."
    return Relation(schema="derived", name=f"{names.singular}_names", sql=_sql(names), comment=comment)


def _sql(names: NameList) -> str:
    stored = ["name", *(("project_id",) if names.is_per_project else ()), *(c for c in names.columns if c != "name")]
    known = set(DIMS[names.name].schema.names)
    attributes = ", ".join(identifier(column) for column in stored if column in known)
    return _VERSIONS.format(attributes=attributes, table=identifier(names.name))
