"""Common questions as table macros of the published file: `from cost_between('2026-11-01', '2026-11-08')`.

Put questions here that people ask again and again; each is one statement over the published marts. What a table said
earlier is lake/as_of.py's.
"""

from usage_pipeline.lake.catalog import Macro
from usage_pipeline.lake.engine import tables_read
from usage_pipeline.marts.registry import load_marts

_MACROS = (
    Macro(
        name="cost_between",
        parameters=("first_day", "end_day"),
        comment="Billed cost per project from first_day to before end_day, the dearest first.",
        query="""
select c.organization, c.project_id, max_by(c.project_name, c.date) as project_name, c.currency,
    sum(c.amount)::decimal(38, 20) as amount
from marts.cost_by_key c
where c.date >= first_day::date and c.date < end_day::date
group by all
order by amount desc, organization, project_id""",
    ),
    Macro(
        name="top_spenders",
        parameters=("how_many",),
        comment="The users of most cost in the last 30 days with a bill, per organization and currency.",
        query="""
select *
from (
    select c.organization, c.currency, c.user_id, max_by(c.user_name, c.date) as user_name,
        sum(c.amount)::decimal(38, 20) as amount
    from marts.cost_by_user c
    join (select organization, max(date) as last_day from marts.cost_by_user group by all) l
        on l.organization = c.organization and c.date > l.last_day - 30
    where c.user_id is not null
    group by all
)
qualify row_number() over (partition by organization, currency order by amount desc, user_id) <= how_many
order by organization, currency, amount desc, user_id""",
    ),
    Macro(
        name="is_settled",
        parameters=("of_organization", "of_endpoint", "of_day"),
        comment="Whether an endpoint's rows of a day are settled; provisional ones may still change.",
        query="""
select coalesce(bool_and(c.is_settled), false)
from meta.coverage c
where c.organization = of_organization and c.endpoint = of_endpoint and c.date = of_day""",
        is_value=True,
    ),
)


def published_macros() -> list[Macro]:
    """The macros whose marts there are."""
    there = {f"marts.{name}" for name in load_marts()}
    return [macro for macro in _MACROS if {t for t in tables_read(macro.query) if t.startswith("marts.")} <= there]
