-- Billed cost per organization, day, project, line item, API key (where the service gives it) and currency.
-- grain: organization, date, project_id, line_item, api_key_id, currency
select
    organization,
    date,
    project_id,
    line_item,
    api_key_id,
    currency,
    sum(amount)::decimal(38, 20) as amount
from usage.costs
group by all
