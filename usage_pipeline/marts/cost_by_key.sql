-- Billed cost per day, project and API key by name; deleted: no complete list of keys has it; null: no key, or no list.
-- grain: organization, date, project_id, api_key_id, currency
with costs as (
    select organization, date, project_id, api_key_id, currency, sum(amount)::decimal(38, 20) as amount
    from usage.costs
    group by all
),
listed as (
    select distinct organization, true as has_keys from dims.api_keys
)
select
    costs.organization,
    costs.date,
    costs.project_id,
    projects.name as project_name,
    costs.api_key_id,
    keys.name as api_key_name,
    -- A key deleted before the first list was read is in none of them: no name, but known to be gone.
    case when costs.api_key_id is not null then coalesce(keys.is_deleted, listed.has_keys) end as api_key_is_deleted,
    costs.currency,
    costs.amount
from costs
left join derived.project_names projects
    on projects.organization = costs.organization and projects.id = costs.project_id
    and costs.date >= projects.from_date and costs.date < projects.until_date
left join derived.api_key_names keys
    on keys.organization = costs.organization and keys.id = costs.api_key_id
    and costs.date >= keys.from_date and costs.date < keys.until_date
left join listed on listed.organization = costs.organization
