-- Budgets against the bill: month to date, the forecast at month end with its interval, and the method's own error.
-- grain: organization, month, scope, project_id, currency
-- scope: whole
-- A row per month, project (and the whole organization: project_id null) and currency, with or without a budget.
-- as_of: the last closed day, that is one whose bill was read when it had had time to come in; later days are not looked
-- at. Months before its month are complete: their forecast is what they cost.
-- Forecast of a day = median of its weekday over the 56 days before x level; level = what the last 28 days cost / what
-- their weekday medians add up to. Where a weekday has no median, or the level would not be positive: the mean of the 28.
-- forecast = month_to_date + the month's days that are not closed. run_rate = month_to_date / its closed days.
-- backtest_error: mean absolute percentage error of the same method over up to 8 weeks, each forecast from the day before
-- it (14 days of history or more). forecast_low, forecast_high: the 10 % and 90 % quantiles of those weeks' actual to
-- forecast, on what is still to come; null with fewer than 4 such weeks.
-- status: breached (more is spent than budgeted), at_risk (the forecast is above the budget), ok, no_budget.
with closed as (
    select organization, date, max(date) over (partition by organization) as as_of from meta.billed_days
),
-- what was billed to no project counts in the organization's total alone
amounts as (
    select organization, 'project' as scope, project_id, currency, date, amount
    from marts.cost_daily_by_project
    where project_id is not null
    union all
    select organization, 'organization' as scope, null as project_id, currency, date, sum(amount) as amount
    from marts.cost_daily_by_project
    group by all
),
billed as (
    select * from amounts semi join closed using (organization, date)
),
budgets as (
    select
        organization, case when project_id is null then 'organization' else 'project' end as scope,
        project_id, month, currency, amount
    from dims.budgets
    where organization in (select organization from closed)
),
keys as (
    select organization, scope, project_id, currency, min(date) as first_date
    from (
        select organization, scope, project_id, currency, date from billed
        union all
        select organization, scope, project_id, currency, null as date from budgets
    )
    group by all
),
-- a closed day without a row cost nothing; days before the first cost are no history
daily as (
    select
        k.organization, k.scope, k.project_id, k.currency, c.date, c.as_of, isodow(c.date) as weekday,
        coalesce(a.amount, 0)::decimal(38, 20) as amount
    from keys k
    join closed c on c.organization = k.organization and c.date >= k.first_date
    left join billed a
        on a.organization = k.organization and a.scope = k.scope and a.currency = k.currency and a.date = c.date
        and a.project_id is not distinct from k.project_id
),
-- 0 is today's forecast, the others those of the backtest
origins as (
    select distinct organization, scope, project_id, currency, week, (as_of - 7 * week)::date as origin
    from daily, (select unnest(range(0, 9))::integer as week)
),
history as (
    select o.week, o.origin, d.*
    from origins o
    join daily d
        on d.organization = o.organization and d.scope = o.scope and d.currency = o.currency
        and d.project_id is not distinct from o.project_id
        and d.date > o.origin - 56 and d.date <= o.origin
),
medians as (
    select
        organization, scope, project_id, currency, week, weekday,
        median(amount)::decimal(24, 10) as weekday_median,
        sum(amount) filter (date > origin - 28) as recent,
        count(*) filter (date > origin - 28) as recent_days,
        count(*) as days
    from history
    group by all
),
levels as (
    select
        organization, scope, project_id, currency, week,
        sum(recent)::decimal(38, 20) as recent,
        sum(days) as days,
        (sum(recent)::double / nullif(sum(recent_days), 0))::decimal(24, 10) as mean,
        (sum(recent)::double / nullif(sum(weekday_median * recent_days)::double, 0)) as ratio
    from medians
    group by all
),
expected as (
    select
        l.organization, l.scope, l.project_id, l.currency, l.week, l.days, w.weekday,
        (case
            when l.ratio > 0 and l.ratio < 1000 and m.weekday_median is not null
                then m.weekday_median * try_cast(l.ratio as decimal(15, 12))
            else l.mean
        end)::decimal(24, 10) as amount
    from levels l
    cross join (select unnest(range(1, 8)) as weekday) w
    left join medians m
        on m.organization = l.organization and m.scope = l.scope and m.currency = l.currency and m.week = l.week
        and m.project_id is not distinct from l.project_id and m.weekday = w.weekday
),
backtest as (
    select
        e.organization, e.scope, e.project_id, e.currency, e.week,
        sum(e.amount)::decimal(38, 10) as forecast,
        sum(d.amount)::decimal(38, 20) as actual
    from daily d
    join expected e
        on e.organization = d.organization and e.scope = d.scope and e.currency = d.currency
        and e.project_id is not distinct from d.project_id and e.weekday = d.weekday
        and d.date > d.as_of - 7 * e.week and d.date <= d.as_of - 7 * (e.week - 1)
    where e.week > 0 and e.days >= 14
    group by all
    having count(*) = 7
),
errors as (
    select
        organization, scope, project_id, currency,
        count(*) filter (forecast > 0) as weeks,
        (sum(try_cast(abs(actual - forecast)::double / nullif(abs(actual)::double, 0) as decimal(24, 10)))
            / count(*) filter (actual != 0))::decimal(24, 10) as backtest_error,
        quantile_cont(try_cast(actual::double / forecast::double as decimal(24, 10)), 0.1) filter (forecast > 0) as low,
        quantile_cont(try_cast(actual::double / forecast::double as decimal(24, 10)), 0.9) filter (forecast > 0) as high
    from backtest
    group by all
),
-- the months there are: those with closed days
months as (
    select
        organization, date_trunc('month', as_of)::date as this_month, as_of,
        date_trunc('month', date)::date as month, count(*) as closed_days
    from closed
    group by all
),
to_date as (
    select
        k.organization, k.scope, k.project_id, k.currency, m.month, m.this_month, m.as_of, m.closed_days,
        coalesce(sum(d.amount), 0)::decimal(38, 20) as month_to_date
    from keys k
    join months m using (organization)
    left join daily d
        on d.organization = k.organization and d.scope = k.scope and d.currency = k.currency
        and d.project_id is not distinct from k.project_id and date_trunc('month', d.date) = m.month
    group by all
),
-- the current month's days that are not closed: those to come, and any that was never read
open_days as (
    select m.organization, m.month, unnest(generate_series(m.month::timestamp, last_day(m.month)::timestamp, interval 1 day))::date as date
    from months m
    where m.month = m.this_month
),
to_come as (
    select e.organization, e.scope, e.project_id, e.currency, o.month, sum(e.amount)::decimal(38, 10) as amount
    from (select * from open_days anti join closed using (organization, date)) o
    join expected e on e.organization = o.organization and e.week = 0 and e.weekday = isodow(o.date)
    group by all
),
forecasts as (
    select
        t.*,
        (t.month_to_date::double / t.closed_days)::decimal(24, 10) as run_rate,
        e.backtest_error,
        coalesce(c.amount, 0) as to_come,
        case when t.month < t.this_month then 1 when e.weeks >= 4 then least(e.low, 1) end as low,
        case when t.month < t.this_month then 1 when e.weeks >= 4 then greatest(e.high, 1) end as high,
        coalesce(
            (select amount from budgets b
             where b.organization = t.organization and b.scope = t.scope and b.currency = t.currency
               and b.project_id is not distinct from t.project_id and b.month = t.month),
            (select amount from budgets b
             where b.organization = t.organization and b.scope = t.scope and b.currency = t.currency
               and b.project_id is not distinct from t.project_id and b.month is null)
        ) as budget
    from to_date t
    left join errors e
        on e.organization = t.organization and e.scope = t.scope and e.currency = t.currency
        and e.project_id is not distinct from t.project_id
    left join to_come c
        on c.organization = t.organization and c.scope = t.scope and c.currency = t.currency
        and c.project_id is not distinct from t.project_id and c.month = t.month
)
select
    organization,
    month,
    scope,
    project_id,
    currency,
    as_of,
    budget::decimal(38, 20) as budget,
    month_to_date,
    run_rate::decimal(38, 20) as run_rate,
    (month_to_date + to_come)::decimal(38, 20) as forecast,
    (month_to_date + least(to_come * low, to_come * high))::decimal(38, 20) as forecast_low,
    (month_to_date + greatest(to_come * low, to_come * high))::decimal(38, 20) as forecast_high,
    case when month < this_month then 0 else last_day(month) - as_of end::bigint as days_left,
    (last_day(month) - month + 1 - closed_days
        - case when month < this_month then 0 else last_day(month) - as_of end)::bigint as days_missing,
    backtest_error::decimal(38, 20) as backtest_error,
    try_cast(month_to_date::double / nullif(budget::double, 0) as decimal(24, 10))::decimal(38, 20) as share_used,
    case
        when budget is null then 'no_budget'
        when month_to_date > budget then 'breached'
        when month_to_date + to_come > budget then 'at_risk'
        else 'ok'
    end as status
from forecasts
