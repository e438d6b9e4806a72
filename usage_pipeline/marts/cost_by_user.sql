-- Cost by project and user, by the names they had on the day; null user: the bill's line has no usage, or its usage no user.
-- grain: organization, date, project_id, user_id, currency
-- scope: day
-- The amounts are the parts of marts.cost_allocated, so they add up to the bill. A user may be a service account.
with spent as (
    select organization, date, project_id, user_id, currency, sum(amount)::decimal(38, 20) as amount
    from marts.cost_allocated
    group by all
)
select
    s.organization,
    s.date,
    s.project_id,
    projects.name as project_name,
    s.user_id,
    coalesce(users.name, accounts.name) as user_name,
    users.email as user_email,
    s.currency,
    s.amount
from spent s
left join derived.project_names projects
    on projects.organization = s.organization and projects.id = s.project_id
    and s.date >= projects.from_date and s.date < projects.until_date
left join derived.user_names users
    on users.organization = s.organization and users.id = s.user_id
    and s.date >= users.from_date and s.date < users.until_date
left join derived.service_account_names accounts
    on accounts.organization = s.organization and accounts.id = s.user_id
    and s.date >= accounts.from_date and s.date < accounts.until_date
