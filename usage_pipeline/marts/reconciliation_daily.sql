-- Priced usage against the bill per day, project and model family; a bill without projects or models is compared whole.
-- grain: organization, date, project_id, model_family, currency
-- scope: day
-- explained: of the bill, what was spread by price, but no more than that usage should cost; explained_share: of what is
-- billed, so that a bill far above its estimate is explained in part only. ratio: billed / estimated.
-- assumed: of the estimate, at a price that stands in for want of a better one: of another tier, of no batch, or of a
-- less special meter (a fine-tune's cached input at the price of its input).
-- is_comparable: not where a price is missing; nor what no estimate is made of: credits, trainings, fees, and tools and
-- stores without one. A model billed without usage is comparable, and wrong.
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
        end as model_family,
        line_kind = 'model' or not is_by_model as has_estimate
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
        l.is_by_model,
        bool_and(l.has_estimate) as has_estimate,
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
        coalesce(b.is_by_model, true) as is_by_model,
        sum(u.estimated_cost) as estimated,
        sum(u.estimated_cost) filter (
            u.price_basis = 'tier_assumed' or (u.price_meter <> u.meter and u.meter <> 'requests')
        ) as assumed,
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
        coalesce(e.assumed, 0) as assumed,
        coalesce(e.has_unpriced, false) as has_unpriced,
        not coalesce(e.has_unpriced, false)
            and (e.estimated is not null or b.has_estimate)
            and (coalesce(b.model_family, e.model_family) is not null or not coalesce(b.is_by_model, e.is_by_model))
            as is_comparable
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
    delta = 0 and not has_unpriced as is_exact,
    assumed::decimal(38, 20) as assumed,
    is_comparable
from counted
