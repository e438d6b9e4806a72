-- Every billed row spread over who used what, by priced usage; the parts of a billed row add up to it exactly.
-- grain: organization, date, project_id, line_item, billed_api_key_id, billed_user_id, currency, user_id, api_key_id, model, batch, service_tier, reason
-- scope: day
-- A row is spread over the usage of its line, of its key and user where the day's bill tells them (then a row without a
-- key takes usage without one, and no other):
--   by price, where all of that usage is priced in one currency;
--   else by quantity, where all of it is of one kind: one model (of a tool: any), meter (the line's, where it names one)
--   and unit, so that one price is behind it;
--   else what of it is priced, in the bill's currency, gets that price, or all of the bill, by price, where the bill is
--   less; the rest of the bill is a row of its own: unpriced.
-- What is not spread goes by the name its model has in the day's usage; where that has none, or several (fine-tunes of
-- one base), by the bill's name as usage would write it.
with
billed as materialized (  -- bill: which row it is, the same wherever it is read
    select
        *,
        row_number() over () as bill,
        dense_rank() over (order by organization, date, project_id, line_item) as line
    from derived.billed_rows
),
lines as (  -- a project's billing line, and the meters that have a line of this model
    select *, array_agg(line_meter) over (partition by organization, date, project_id, model_key) as meters
    from (
        select distinct
            line, organization, date, project_id, line_item, line_kind, line_meter, line_endpoint, model_key, model_family,
            is_by_project, is_by_line
        from billed
    )
),
used as (  -- whole_meter: the plain meter an input's or output's kinds are billed by where they have no line
    select
        u.*,
        m.model_key,
        m.model_family,
        u.meter in ('requests', 'sessions', 'storage') as is_of_tool,
        case
            when starts_with(u.meter, 'cached') then 'cached input'
            when u.meter = 'cache write' or ends_with(u.meter, 'input') then 'input'
            when ends_with(u.meter, 'output') then 'output'
        end as whole_meter
    from (select * from marts.usage_priced where quantity > 0) u
    left join (select * from derived.models) m
        on u.organization = m.organization and u.date = m.date and u.model = m.model
),
targets as (  -- the usage behind each line; an undated name stands for a dated one where its own has no usage
    select
        l.line,
        u.*,
        {
            'model': case when l.line_endpoint is null then u.model end,
            'meter': coalesce(l.line_meter, u.meter),
            'unit': u.unit
        } as kind
    from lines l
    join (
        select distinct
            organization, date, project_id, endpoint, model, meter, unit, model_key, model_family, is_of_tool, whole_meter
        from used
    ) u
        on l.organization = u.organization and l.date = u.date
        and (l.project_id is not distinct from u.project_id or (l.project_id is null and not l.is_by_project))
        and case
            when l.line_endpoint is not null then u.endpoint = l.line_endpoint
            when l.line_kind = 'model' then not u.is_of_tool
                and (l.model_key is null or u.model_key in (l.model_key, l.model_family) or u.model_family = l.model_key)
                and (
                    l.line_meter is null or u.meter = l.line_meter
                    or (u.whole_meter = l.line_meter and not list_contains(l.meters, u.meter))
                )
            else l.line_item is null and not l.is_by_line
        end
    qualify coalesce(l.model_key <> u.model_key, false)
        = bool_and(coalesce(l.model_key <> u.model_key, false)) over (partition by l.line)
),
pools as (  -- the usage of each line; cost: of what is priced of it; kind: what one price is for
    select
        t.line, u.user_id, u.api_key_id, u.model, u.batch, u.service_tier,
        bool_and(u.estimated_cost is not null) as is_priced,
        coalesce(sum(u.estimated_cost) filter (u.estimated_cost > 0), 0) as cost,
        sum(u.quantity)::decimal(38, 6) as quantity,
        min(u.currency) as first_currency, max(u.currency) as last_currency,
        min(t.kind) as first_kind, max(t.kind) as last_kind
    from targets t
    join used u
        on t.organization = u.organization and t.date = u.date and t.endpoint = u.endpoint and t.meter = u.meter
        and t.project_id is not distinct from u.project_id and t.model is not distinct from u.model
    group by all
),
matched as (  -- of the billed key and user, or of none where the day's bill tells them; usage that does not, where none does
    select
        b.bill, b.currency, p.* exclude (line, user_id, api_key_id),
        coalesce(b.user_id, p.user_id) as user_id,
        coalesce(b.api_key_id, p.api_key_id) as api_key_id,
        replace(abs(b.amount)::varchar, '.', '')::hugeint as digits,
        replace(p.cost::varchar, '.', '')::hugeint as cost_digits,
        (b.api_key_id is not null and p.api_key_id is null)::int * 2
            + (b.user_id is not null and p.user_id is null)::int as misses
    from billed b
    join pools p
        on b.line = p.line
        and (p.api_key_id is null or p.api_key_id = b.api_key_id or (b.api_key_id is null and not b.is_by_key))
        and (p.user_id is null or p.user_id = b.user_id or (b.user_id is null and not b.is_by_user))
    qualify misses = min(misses) over (partition by b.bill)
),
weighed as (  -- by which of the rules above; in whole numbers
    select
        *,
        sum(cost_digits) over one_bill as estimate,
        estimate > 0 and min(first_currency) over one_bill = max(last_currency) over one_bill as has_prices,
        case
            when has_prices and bool_and(is_priced) over one_bill then 'price'
            when min(first_kind) over one_bill = max(last_kind) over one_bill then 'quantity'
            when has_prices and min(first_currency) over one_bill = currency then 'price of a part'
        end as spread_by,
        spread_by = 'price of a part' and estimate < digits as is_short,
        case when spread_by = 'quantity' then replace(quantity::varchar, '.', '')::hugeint else cost_digits end as units
    from matched
    window one_bill as (partition by bill)
),
parts as (  -- what is beyond the price of what is priced is a part without a user, for nobody knows whose it is
    select bill, spread_by, is_short, false as is_rest, user_id, api_key_id, model, batch, service_tier, units
    from weighed
    where spread_by is not null and units > 0
    union all
    select distinct bill, spread_by, is_short, true, null, null, null, null::boolean, null, digits - estimate
    from weighed
    where is_short
),
scaled as (  -- at most 19 digits in all, so that the square of the total fits a hugeint
    select *, units // ('1' || repeat('0', greatest(0, length((sum(units) over one_bill)::varchar) - 19)))::hugeint as weight
    from parts
    window one_bill as (partition by bill)
),
names as (  -- the model of the day behind a comparable name, where it is one
    select organization, date, model_key, min(model) as only_model
    from derived.models
    where model is not null
    group by all
    having count(distinct model) = 1
),
shares as (  -- a billed row without usage is one share of itself; amounts are counted in their last digit
    select
        b.*,
        s.spread_by, s.user_id as part_user_id, s.api_key_id as part_api_key_id, s.model, s.batch, s.service_tier,
        s.bill is not null and not s.is_rest as is_matched,
        b.bill in (select bill from matched) as has_usage,
        coalesce(n.only_model, b.model_key) as rest_model,
        replace(abs(b.amount)::varchar, '.', '')::hugeint as digits,
        case when s.is_short then s.units end as known_digits,
        coalesce(s.weight, 1) as weight,
        sum(coalesce(s.weight, 1)) over one_bill as total,
        count(*) over one_bill as parts
    from billed b
    left join scaled s on b.bill = s.bill
    left join names n on b.organization = n.organization and b.date = n.date and b.model_key = n.model_key
    window one_bill as (partition by b.bill)
),
floored as (  -- digits * weight // total without the product: digits = q * total + r, and r * weight < total * total
    select
        *,
        coalesce(known_digits, (digits // total) * weight + ((digits % total) * weight) // total) as whole_digits,
        ((digits % total) * weight) % total as remainder
    from shares
),
rounded as (  -- the digits that rounding down lost go, one each, to the largest remainders
    select
        *,
        whole_digits + (
            row_number() over (
                partition by bill
                order by remainder desc, part_user_id, part_api_key_id, model, batch, service_tier
            ) <= digits - sum(whole_digits) over (partition by bill)
        )::int as part_digits
    from floored
)
select
    organization,
    date,
    project_id,
    line_item,
    line_kind,
    line_meter,
    api_key_id as billed_api_key_id,
    user_id as billed_user_id,
    case when is_matched then part_user_id else user_id end as user_id,
    case when is_matched then part_api_key_id else api_key_id end as api_key_id,
    case when is_matched then model else rest_model end as model,
    batch,
    service_tier,
    currency,
    (
        case when amount < 0 then '-' else '' end
        || (part_digits // 100000000000000000000)::varchar
        || '.' || lpad((part_digits % 100000000000000000000)::varchar, 20, '0')
    )::decimal(38, 20) as amount,
    amount::decimal(38, 20) as billed_amount,
    (((weight * 1000000000000000000) // total)::decimal(19, 0) * 0.000000000000000001::decimal(18, 18))
        ::decimal(38, 20) as share,
    case
        when is_matched then null
        when has_usage then 'unpriced'
        when is_credit or amount < 0 then 'credit'
        when project_id is null and is_by_project then 'no_project'
        when line_kind = 'model' or (line_item is null and not is_by_line) then 'no_usage'
        else line_kind
    end as reason,
    case
        when is_matched then if(spread_by = 'quantity', 'quantity', 'priced')
        when coalesce(user_id, api_key_id, line_model) is not null then 'billed'
    end as basis,
    case when parts = 1 then quantity end::decimal(38, 20) as quantity,
    case when parts = 1 and quantity is not null then quantity_unit end as quantity_unit
from rounded
