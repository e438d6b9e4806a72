-- Every allocated cost row in the columns of FinOps FOCUS, those of 1.2 and 1.4; x_ columns are ours.
-- grain: organization, date, SubAccountId, ChargeDescription, x_BilledApiKeyId, x_BilledUserId, BillingCurrency, x_UserId, x_ApiKeyId, x_Model, x_Batch, x_ServiceTier, x_Reason
-- scope: day
-- The service bills what it lists and tells of no discount: the four costs are one. What it does not say stays null:
-- no quantity without a unit, no tax, no purchase, no correction; an amount below zero is a credit.
-- A project without a known name goes by its id, for FOCUS allows no sub account without one.
with allocated as (
    select * from marts.cost_allocated
),
blank as (
    select * from derived.focus_blank
),
lines as (
    select
        a.*,
        coalesce(n.name, a.project_id) as project_name,
        k.name as api_key_name,
        coalesce(u.name, s.name) as user_name,
        case when a.billed_amount < 0 then 'Credit' else 'Usage' end as category,
        category = 'Usage' and a.quantity is not null and a.quantity_unit is not null as is_counted,
        case a.quantity_unit
            when 'tokens' then 'Tokens'
            when '1000_tokens' then '1000 Tokens'
            when 'duration_seconds' then 'Seconds'
            when 'duration_minutes' then 'Minutes'
            when 'duration_hours' then 'Hours'
            when 'gibibyte_hours' then 'GiB-Hours'
            when 'images' then 'Images'
            when 'characters' then 'Characters'
            else a.quantity_unit
        end as unit
    from allocated a
    left join derived.project_names n
        on n.organization = a.organization and n.id = a.project_id and a.date >= n.from_date and a.date < n.until_date
    left join derived.api_key_names k
        on k.organization = a.organization and k.id = a.api_key_id and a.date >= k.from_date and a.date < k.until_date
    left join derived.user_names u
        on u.organization = a.organization and u.id = a.user_id and a.date >= u.from_date and a.date < u.until_date
    left join derived.service_account_names s
        on s.organization = a.organization and s.id = a.user_id and a.date >= s.from_date and a.date < s.until_date
)
select
    organization,
    date,
    amount as "BilledCost",
    organization as "BillingAccountId",
    organization as "BillingAccountName",
    'Organization' as "BillingAccountType",
    upper(currency) as "BillingCurrency",
    date_trunc('month', date)::timestamp + interval 1 month as "BillingPeriodEnd",
    date_trunc('month', date)::timestamp as "BillingPeriodStart",
    category as "ChargeCategory",
    line_item as "ChargeDescription",
    case category when 'Usage' then 'Usage-Based' else 'One-Time' end as "ChargeFrequency",
    date::timestamp + interval 1 day as "ChargePeriodEnd",
    date::timestamp as "ChargePeriodStart",
    case when is_counted then quantity end as "ConsumedQuantity",
    case when is_counted then unit end as "ConsumedUnit",
    amount as "ContractedCost",
    amount as "EffectiveCost",
    'OpenAI' as "HostProviderName",
    'OpenAI' as "InvoiceIssuerName",
    amount as "ListCost",
    case when category = 'Usage' and service_tier is distinct from 'scale' then 'Standard' end as "PricingCategory",
    case when is_counted then quantity end as "PricingQuantity",
    case when is_counted then unit end as "PricingUnit",
    'OpenAI' as "ProviderName",
    'OpenAI' as "PublisherName",
    'AI and Machine Learning' as "ServiceCategory",
    'OpenAI API' as "ServiceName",
    'OpenAI' as "ServiceProviderName",
    'Generative AI' as "ServiceSubcategory",
    line_item as "SkuId",
    case when line_item is not null then coalesce(line_meter, replace(quantity_unit, '_', ' ')) end as "SkuMeter",
    line_item as "SkuPriceId",
    project_id as "SubAccountId",
    project_name as "SubAccountName",
    case when project_id is not null then 'Project' end as "SubAccountType",
    api_key_id as "x_ApiKeyId",
    api_key_name as "x_ApiKeyName",
    user_id as "x_UserId",
    user_name as "x_UserName",
    model as "x_Model",
    service_tier as "x_ServiceTier",
    batch as "x_Batch",
    reason as "x_Reason",
    billed_api_key_id as "x_BilledApiKeyId",
    billed_user_id as "x_BilledUserId",
    blank.*
from lines
cross join blank
