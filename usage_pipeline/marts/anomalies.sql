-- Days that cost far more or less than their weekday does, in all, per project and per model, and what is behind it.
-- grain: organization, date, dimension, key, currency
-- scope: whole
-- dimension: total (key null), project or model. Only closed days are judged (meta.billed_days); days on which a key cost
-- nothing count as zero from its first cost on.
-- expected = median of the same weekday in the 56 days before (of all those days where there are fewer than 3 of it);
-- spread = 1.4826 x median of how far those days were from their own weekday's median, but at least 10 % of what is
-- expected and 0.01; robust_z = (amount - expected) / spread.
-- An anomaly is a difference of 1.00 or more (in the currency) with
--   |robust_z| >= 5 and 50 % of what is expected, where at least 28 days of history are known, or
--   8 times what is expected or more, and twice the most of those 56 days; or an eighth or less, and half the least
--   (is_order_of_magnitude: a changed unit or currency looks so); with at least 14 days, and expected above zero.
-- drivers: the three line items (of a model: projects) that differ most from their mean of the 28 days before.
-- DuckDB divides decimals, and takes medians between two, as binary floats: quotients here are of whole numbers, of which
-- 10^10 are one, and a median is half the sum of the lower and upper middle element.
with closed as materialized (
    select organization, date from meta.billed_days
),
parts as materialized (
    select
        organization, date, currency, project_id, model, coalesce(line_item, '(no line item)') as line_item,
        sum(amount) as amount
    from marts.cost_drivers_daily
    where (organization, date) in (select (organization, date) from closed)
    group by all
),
keyed as materialized (
    select organization, date, currency, 'total' as dimension, null as key, line_item as part, amount from parts
    union all
    select organization, date, currency, 'project', project_id, line_item, amount from parts where project_id is not null
    union all
    select organization, date, currency, 'model', model, coalesce(project_id, '(no project)'), amount from parts
    where model is not null
),
keys as (
    select organization, currency, dimension, key, min(date) as first_date from keyed group by all
),
amounts as (
    select organization, date, currency, dimension, key, sum(amount) as amount from keyed group by all
),
daily as materialized (
    select
        row_number() over () as id, k.organization, k.currency, k.dimension, k.key, c.date, isodow(c.date) as weekday,
        coalesce(a.amount, 0)::decimal(38, 20) as amount
    from keys k
    join closed c on c.organization = k.organization and c.date >= k.first_date
    left join amounts a
        on a.organization = k.organization and a.currency = k.currency and a.dimension = k.dimension
        and a.key is not distinct from k.key and a.date = c.date
),
-- what its weekday cost before: 8 days at most, a week apart
of_weekday as (
    select
        d.id, count(h.id) as days,
        ((quantile_disc(h.amount, 0.5) - quantile_disc(-h.amount, 0.5)) * 0.5)::decimal(38, 20) as usual
    from daily d
    left join daily h
        on h.organization = d.organization and h.currency = d.currency and h.dimension = d.dimension
        and h.key is not distinct from d.key and h.weekday = d.weekday and h.date >= d.date - 56 and h.date < d.date
    group by d.id
),
-- days that may be anomalies: whatever else must hold, they differ by 1.00 and half of what is expected
candidates as materialized (
    select d.*, case when w.days >= 3 then w.usual end as of_weekday
    from daily d
    join of_weekday w using (id)
    where w.days < 3 or (abs(d.amount - w.usual) >= 1 and 2 * abs(d.amount - w.usual) >= abs(w.usual))
),
history as materialized (
    select c.id, h.weekday, h.amount
    from candidates c
    join daily h
        on h.organization = c.organization and h.currency = c.currency and h.dimension = c.dimension
        and h.key is not distinct from c.key and h.date >= c.date - 56 and h.date < c.date
),
usual as (
    select
        id, weekday,
        ((quantile_disc(amount, 0.5) - quantile_disc(-amount, 0.5)) * 0.5)::decimal(38, 20) as usual
    from history
    group by all
),
judged as (
    select
        h.id,
        count(*) as days,
        ((quantile_disc(h.amount, 0.5) - quantile_disc(-h.amount, 0.5)) * 0.5)::decimal(38, 20) as overall,
        min(h.amount) as least,
        max(h.amount) as most,
        ((quantile_disc(abs(h.amount - u.usual), 0.5) - quantile_disc(-abs(h.amount - u.usual), 0.5)) * 0.5)
            ::decimal(38, 20) as deviation
    from history h
    join usual u on u.id = h.id and u.weekday = h.weekday
    group by h.id
),
scored as (
    select
        c.* exclude (of_weekday),
        j.days as history_days,
        j.least,
        j.most,
        coalesce(c.of_weekday, j.overall) as expected,
        greatest(
            1.4826 * j.deviation::decimal(32, 12), 0.1 * abs(coalesce(c.of_weekday, j.overall))::decimal(32, 12), 0.01
        ) as spread
    from candidates c
    join judged j using (id)
),
flagged as (
    select
        *,
        amount - expected as difference,
        (((amount - expected)::decimal(38, 10) * 10000000000)::hugeint * 10000000000
            // (spread::decimal(38, 10) * 10000000000)::hugeint)::decimal(38, 0) * 0.0000000001 as robust_z,
        expected > 0 and history_days >= 14 and (
            (amount >= 8 * expected and amount > 2 * most) or (8 * amount <= expected and 2 * amount < least)
        ) as is_order_of_magnitude
    from scored
    where abs(amount - expected) >= 1
),
found as materialized (
    select * from flagged
    where is_order_of_magnitude
        or (abs(robust_z) >= 5 and abs(difference) >= 0.5 * abs(expected) and history_days >= 28)
),
-- the mean of a part over the 28 days before, from the day on which the key's history begins
behind as (
    select
        f.id, p.part,
        coalesce(sum(p.amount) filter (p.date = f.date), 0)::decimal(38, 10)
            - ((coalesce(sum(p.amount) filter (p.date < f.date), 0)::decimal(38, 10) * 10000000000)::hugeint
                // least(f.history_days, 28))::decimal(38, 0) * 0.0000000001
            as difference
    from found f
    join keyed p
        on p.organization = f.organization and p.currency = f.currency and p.dimension = f.dimension
        and p.key is not distinct from f.key and p.date >= f.date - 28 and p.date <= f.date
    group by f.id, f.history_days, p.part
),
drivers as (
    select
        id,
        string_agg(
            part || case when difference < 0 then ' -' else ' +' end || abs(difference)::decimal(38, 2),
            '; ' order by abs(difference) desc, part
        ) as drivers
    from (select * from behind qualify row_number() over (partition by id order by abs(difference) desc, part) <= 3)
    group by id
)
select
    f.organization,
    f.date,
    f.dimension,
    f.key,
    f.currency,
    f.amount,
    f.expected::decimal(38, 20) as expected,
    f.robust_z::decimal(38, 20) as robust_z,
    case when f.difference > 0 then 'up' else 'down' end as direction,
    f.is_order_of_magnitude,
    f.history_days::bigint as history_days,
    d.drivers
from found f
left join drivers d using (id)
