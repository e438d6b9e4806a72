-- Priced usage against the bill per day, project and model family; a bill without projects or models is compared whole.
-- grain: organization, date, project_id, model_family, currency
-- scope: day
-- explained: of the bill, what was spread by price, but no more than that usage should cost; explained_share: of what is
-- billed, so that a bill far above its estimate is explained in part only. ratio: billed / estimated.
with
lines as (  -- what the day's bill tells apart; a tool or a store is compared under its endpoint's name
    select distinct
        organization,
        date,
        line_item,
        is_by_project,
        is_by_model,
        case
            when line_kind = 'model' then model_family
            when is_by_model then line_endpoint
        end as model_family
    from derived.billed_rows
),
bills as (  -- one row per day with a bill
    select organization, date, is_by_project, is_by_model, min(currency) as currency
    from derived.billed_rows
    group by all
),
billed as (
    select
        c.organization,
        c.date,
        c.project_id,
        l.model_family,
        c.currency,
        sum(c.amount) as billed,
        sum(case when c.basis = 'priced' then c.amount else 0 end) as spread_by_price
    from (select * from marts.cost_allocated) c
    join lines l
        on c.organization = l.organization and c.date = l.date and c.line_item is not distinct from l.line_item
    group by all
),
estimated as (
    select
        u.organization,
        u.date,
        case when coalesce(b.is_by_project, true) then u.project_id end as project_id,
        case
            when not coalesce(b.is_by_model, true) then null
            when u.meter in ('requests', 'sessions', 'storage') then u.endpoint
            else m.model_family
        end as model_family,
        coalesce(u.currency, b.currency) as currency,
        sum(u.estimated_cost) as estimated,
        bool_or(u.estimated_cost is null) as has_unpriced
    from (select * from marts.usage_priced where quantity > 0) u
    left join bills b on u.organization = b.organization and u.date = b.date
    left join (select * from derived.models) m
        on u.organization = m.organization and u.date = m.date and u.model = m.model
    group by all
),
compared as (
    select
        coalesce(b.organization, e.organization) as organization,
        coalesce(b.date, e.date) as date,
        coalesce(b.project_id, e.project_id) as project_id,
        coalesce(b.model_family, e.model_family) as model_family,
        coalesce(b.currency, e.currency) as currency,
        b.billed,
        e.estimated,
        coalesce(b.billed, 0) - coalesce(e.estimated, 0) as delta,
        case when b.billed is not null then greatest(least(b.spread_by_price, coalesce(e.estimated, 0)), 0) end
            as explained,
        coalesce(e.has_unpriced, false) as has_unpriced
    from billed b
    full join estimated e
        on b.organization = e.organization
        and b.date = e.date
        and b.project_id is not distinct from e.project_id
        and b.model_family is not distinct from e.model_family
        and b.currency is not distinct from e.currency
),
counted as (  -- money in its last digits, cut alike where a product with 10^9 would not fit
    select
        *,
        replace(abs(billed)::varchar, '.', '')::hugeint as billed_digits,
        replace(abs(estimated)::varchar, '.', '')::hugeint as estimated_digits,
        replace(abs(explained)::varchar, '.', '')::hugeint as explained_digits,
        ('1' || repeat('0', greatest(0, length(greatest(billed_digits, explained_digits)::varchar) - 28)))::hugeint as cut,
        ((billed_digits // cut) * 1000000000) // nullif(estimated_digits // cut, 0) as ratio,
        ((explained_digits // cut) * 1000000000) // nullif(billed_digits // cut, 0) as explained_ratio
    from compared
)
select
    organization,
    date,
    project_id,
    model_family,
    currency,
    billed::decimal(38, 20) as billed,
    estimated::decimal(38, 20) as estimated,
    delta::decimal(38, 20) as delta,
    explained::decimal(38, 20) as explained,
    try_cast(
        case when (billed < 0) <> (estimated < 0) then '-' else '' end
        || (ratio // 1000000000)::varchar || '.' || lpad((ratio % 1000000000)::varchar, 9, '0') as decimal(38, 20)
    ) as ratio,
    try_cast(
        case when (billed < 0) <> (explained < 0) then '-' else '' end
        || (explained_ratio // 1000000000)::varchar || '.' || lpad((explained_ratio % 1000000000)::varchar, 9, '0')
        as decimal(38, 20)
    ) as explained_share,
    has_unpriced,
    delta = 0 and not has_unpriced as is_exact
from counted
