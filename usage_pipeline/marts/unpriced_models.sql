-- Usage no price is known for, per organization, endpoint, model and meter: what data/prices.csv could add.
-- grain: organization, endpoint, model, meter, unit
-- scope: whole
select
    organization,
    endpoint,
    model,
    meter,
    unit,
    min(date) as first_day,
    max(date) as last_day,
    sum(quantity)::bigint as quantity
from marts.usage_priced
where price_basis = 'unpriced'
group by all
