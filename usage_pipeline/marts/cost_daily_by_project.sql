-- Billed cost per organization, day, project and currency.
-- grain: organization, date, project_id, currency
select
    organization,
    date,
    project_id,
    currency,
    sum(amount)::decimal(38, 20) as amount
from marts.cost_daily
group by all
