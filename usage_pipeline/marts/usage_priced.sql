-- Estimated cost of usage, meter by meter, at the list price of its model, service tier, batch and day.
-- grain: organization, date, endpoint, project_id, user_id, api_key_id, model, batch, service_tier, meter
with price_changes as (
    select valid_from as day from dims.prices where valid_from is not null
    union
    select valid_to from dims.prices where valid_to is not null
),

-- Between two changes all prices stay: a day is looked up as the day of the last change before it.
days as (
    select used.date, coalesce(max(price_changes.day), date '0001-01-01') as priced_on
    from (select distinct date from derived.usage_meters) as used
    left join price_changes on price_changes.day <= used.date
    group by all
),

metered as materialized (
    select meters.*, days.priced_on
    from derived.usage_meters as meters
    join days on days.date = meters.date
),

-- What has to be looked up, each once. An endpoint without tiers or batch has the default tier and no batch.
wanted as (
    select distinct
        priced_on, endpoint, model, batch, service_tier, meter,
        not has_tiers or service_tier is not null as is_tier_known,
        not has_batch or batch is not null as is_batch_known,
        coalesce(nullif(lower(service_tier), 'standard'), 'default') as tier,
        coalesce(batch, false) as batched
    from metered
),

-- The rules that fit a model's name: every override, and the first one of the price book.
matched as (
    select names.model, rules.priority
    from (select distinct model, lower(coalesce(model, '')) as name from wanted) as names
    join (select distinct priority, match, pattern, is_override from dims.prices) as rules
        on case rules.match
            when 'equals' then names.name = rules.pattern
            when 'starts_with' then starts_with(names.name, rules.pattern)
            when 'ends_with' then ends_with(names.name, rules.pattern)
            when 'contains' then contains(names.name, rules.pattern)
            when 'regex' then regexp_matches(names.name, rules.pattern)
            when 'no_model' then names.model is null
        end
    qualify rules.is_override
        or rules.priority = min(rules.priority) filter (not rules.is_override) over (partition by names.model)
),

-- The meters whose price a meter may take: its own, that of its tool, or one that stands in.
takes as (
    select distinct endpoint, meter, meter as price_meter, 0 as distance from wanted
    union all
    select distinct endpoint, meter, replace(endpoint, '_', ' '), 1 from wanted where meter = 'requests'
    union all
    select distinct wanted.endpoint, wanted.meter, fallbacks.price_meter, fallbacks.distance
    from wanted
    join derived.meter_fallbacks as fallbacks on fallbacks.meter = wanted.meter
),

priced as (
    select
        wanted.priced_on, wanted.endpoint, wanted.model, wanted.batch, wanted.service_tier, wanted.meter,
        prices.price, prices.per, prices.currency, prices.has_threshold,
        prices.source as price_source, prices.model as price_model, prices.meter as price_meter,
        (prices.price * 1000000000000)::hugeint as price_e12,
        (price_e12 * 100000000 // prices.per)::decimal(38, 0) * 0.00000000000000000001::decimal(20, 20) as unit_price,
        price_e12 * 100000000 % prices.per = 0 as is_round,
        case
            when not case
                when prices.service_tier is not null then prices.service_tier = wanted.tier and is_tier_known
                when prices.is_override then true
                else wanted.tier = 'default' and (is_tier_known or coalesce(prices.is_batch, false))
            end then 'tier_assumed'
            when not case
                when prices.is_batch is not null then prices.is_batch = wanted.batched and is_batch_known
                else prices.is_override or not wanted.batched and is_batch_known
            end then 'tier_assumed'
            -- a free model is free under each of its names
            when prices.is_override or prices.match = 'equals' or prices.price = 0 then 'exact'
            else 'model_alias'
        end as price_basis
    from wanted
    join matched on matched.model is not distinct from wanted.model
    join takes on takes.endpoint = wanted.endpoint and takes.meter = wanted.meter
    join dims.prices as prices
        on prices.priority = matched.priority
        and prices.meter = takes.price_meter
        and wanted.priced_on >= coalesce(prices.valid_from, wanted.priced_on)
        and (prices.valid_to is null or wanted.priced_on < prices.valid_to)
        and coalesce(prices.service_tier, 'default') in ('default', wanted.tier)
        and (wanted.batched or not coalesce(prices.is_batch, false))
    -- A price given for the default tier or for no batch alone stands in for others only where there is nothing better.
    qualify row_number() over (
        partition by
            wanted.priced_on, wanted.endpoint, wanted.model, wanted.batch, wanted.service_tier, wanted.meter
        order by
            takes.distance,
            coalesce(prices.service_tier, wanted.tier) <> wanted.tier
            or coalesce(prices.is_batch, wanted.batched) <> wanted.batched,
            prices.priority,
            prices.is_batch is null,
            prices.service_tier is null,
            prices.valid_from desc nulls last
    ) = 1
)

select
    metered.organization,
    metered.date,
    metered.endpoint,
    metered.project_id,
    metered.user_id,
    metered.api_key_id,
    metered.model,
    metered.batch,
    metered.service_tier,
    metered.meter,
    metered.unit,
    metered.quantity,
    priced.price,
    priced.per,
    -- quantity * price / per in whole numbers, for DuckDB divides decimals as binary floats; half up at the 20th digit
    case
        when priced.is_round then metered.quantity * priced.unit_price
        else (metered.quantity // priced.per)::decimal(38, 0) * priced.price
            + (
                ((metered.quantity % priced.per)::hugeint * priced.price_e12 * 200000000 + priced.per)
                // (2::hugeint * priced.per)
            )::decimal(38, 0) * 0.00000000000000000001::decimal(20, 20)
    end::decimal(38, 20) as estimated_cost,
    priced.currency,
    coalesce(priced.price_basis, 'unpriced') as price_basis,
    coalesce(priced.has_threshold, false) as has_threshold,
    priced.price_source,
    priced.price_model,
    priced.price_meter
from metered
left join priced
    on priced.priced_on = metered.priced_on
    and priced.endpoint = metered.endpoint
    and priced.meter = metered.meter
    and priced.model is not distinct from metered.model
    and priced.batch is not distinct from metered.batch
    and priced.service_tier is not distinct from metered.service_tier
