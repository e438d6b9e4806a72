-- Cost by team and cost centre as tags.csv assigns it; what no tag fits is team `untagged`. Adds up to the bill.
-- grain: organization, date, team, cost_center, currency
-- scope: day
-- A key's tag counts before its user's and that before the project's; for one thing an exact match before a pattern,
-- then the first line. What matches is an id, or the name (a user's email too) it had on the day.
with allocated as (
    select organization, date, project_id, user_id, api_key_id, currency, amount from marts.cost_allocated
),
tags as (
    select * from dims.tags
),
things as (
    select distinct organization, date, 'project' as kind, project_id as id from allocated
    union all
    select distinct organization, date, 'user' as kind, user_id as id from allocated
    union all
    select distinct organization, date, 'api_key' as kind, api_key_id as id from allocated
),
names as (
    select organization, 'project' as kind, id, name, null as email, from_date, until_date from derived.project_names
    union all
    select organization, 'user' as kind, id, name, email, from_date, until_date from derived.user_names
    union all
    select organization, 'api_key' as kind, id, name, null as email, from_date, until_date from derived.api_key_names
),
named as (
    select t.organization, t.date, t.kind, t.id, n.name, n.email
    from things t
    left join names n
        on n.organization = t.organization and n.kind = t.kind and n.id = t.id
        and t.date >= n.from_date and t.date < n.until_date
    where t.id is not null
),
spelled as (
    select organization, date, kind, id, unnest([id, name, email]) as spelling from named
),
tagged as (
    select s.organization, s.date, s.kind, s.id, t.team, t.cost_center
    from spelled s
    join tags t on t.kind = s.kind
        and (t.valid_from is null or t.valid_from <= s.date)
        and (t.valid_to is null or t.valid_to > s.date)
        and (t.match = s.spelling or s.spelling like t.pattern escape '\')
    qualify row_number() over (
        partition by s.organization, s.date, s.kind, s.id
        order by t.pattern is not null, t.line
    ) = 1
)
select
    a.organization,
    a.date,
    coalesce(k.team, u.team, p.team, 'untagged') as team,
    case
        when k.team is not null then k.cost_center
        when u.team is not null then u.cost_center
        else p.cost_center
    end as cost_center,
    a.currency,
    sum(a.amount)::decimal(38, 20) as amount
from allocated a
left join tagged k
    on k.kind = 'api_key' and k.organization = a.organization and k.date = a.date and k.id = a.api_key_id
left join tagged u on u.kind = 'user' and u.organization = a.organization and u.date = a.date and u.id = a.user_id
left join tagged p
    on p.kind = 'project' and p.organization = a.organization and p.date = a.date and p.id = a.project_id
group by all
