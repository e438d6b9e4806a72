-- Budgets against the bill: month to date, the forecast at month end with its interval, and the method's own error.
-- grain: organization, month, scope, project_id, currency
-- scope: whole
-- A row per month, project (and the whole organization: project_id null) and currency, with or without a budget.
-- as_of: the last closed day, that is one whose bill was read when it had had time to come in; later days are not looked
-- at. Months before its month are complete: their forecast is what they cost.
-- What recurs is forecast, and the rest counts in month_to_date alone: credits (below zero, or a line that says so) and
-- trainings, which are billed once.
-- Forecast of a day = median of its weekday over the 56 days before x level; level = what the usual ones of the last 28
-- days cost / what their weekday medians add up to. Usual is a day that cost a quarter to four times as much, by its
-- weekday's median, as the middle one of them: a single odd day moves nothing, and a skewed or growing cost is not
-- underrated as by a plain median. Where a weekday has no median, or all medians are zero: the mean of the 28 days
-- without the dearest.
-- forecast = month_to_date + the month's days that are not closed. run_rate = month_to_date / its closed days.
-- backtest_error: mean absolute percentage error of the same method over up to 8 weeks of what recurs, each forecast from
-- the day before it (14 days of history or more). forecast_low, forecast_high: the 10 % and 90 % quantiles of those
-- weeks' actual to forecast, on what is still to come; null with fewer than 4 such weeks.
-- budget_source: budgets.csv, or spend_limit where the service keeps it.
-- status: breached (more is spent than budgeted), at_risk (the forecast is above the budget), ok, no_budget; no_cost: a
-- budget to which nothing was billed on any closed day, as where its project or currency is mistyped.
-- DuckDB divides decimals, and takes medians between two, as binary floats: quotients here are of whole numbers, of which
-- 10^10 are one (_e10; what is smaller is cut off), and a median is half the sum of the lower and upper middle element.
with closed as (
    select organization, date, max(date) over (partition by organization) as as_of from meta.billed_days
),
-- the forecast and its backtest look at 112 days; parsing lines takes time, and a join hands the days down to the scan
lines as (
    select organization, project_id, currency, date, amount, 0 as recurring
    from marts.cost_daily_by_project
    where (organization, date) in (select (organization, date) from closed)
    union all
    select l.organization, l.project_id, l.currency, l.date, 0 as amount, l.amount as recurring
    from derived.cost_lines l
    join closed c on c.organization = l.organization and c.date = l.date and c.date > c.as_of - 112
    where l.amount > 0 and not l.is_credit and l.line_kind <> 'training'
),
-- what was billed to no project counts in the organization's total alone
billed as materialized (
    select
        organization, 'project' as scope, project_id, currency, date, sum(amount) as amount, sum(recurring) as recurring
    from lines
    where project_id is not null
    group by all
    union all
    select
        organization, 'organization' as scope, null as project_id, currency, date, sum(amount) as amount,
        sum(recurring) as recurring
    from lines
    group by all
),
budgets as (
    select
        organization, case when project_id is null then 'organization' else 'project' end as scope,
        project_id, month, currency, amount, source
    from dims.budgets
    where organization in (select organization from closed)
),
keys as materialized (
    select
        row_number() over () as key, organization, scope, project_id, currency,
        min(date) as first_date, min(date) filter (recurring > 0) as first_recurring
    from (
        select organization, scope, project_id, currency, date, recurring from billed
        union all
        select organization, scope, project_id, currency, null as date, null as recurring from budgets
    )
    group by all
),
-- a closed day without a row cost nothing; days before the first recurring cost are no history
daily as materialized (
    select
        k.key, c.date, c.as_of, isodow(c.date) as weekday, c.date >= k.first_recurring as is_history,
        coalesce(b.amount, 0)::decimal(38, 20) as amount,
        (coalesce(b.recurring, 0)::decimal(38, 10) * 10000000000)::hugeint as recurring_e10
    from keys k
    join closed c on c.organization = k.organization and c.date >= k.first_date
    left join billed b
        on b.organization = k.organization and b.scope = k.scope and b.currency = k.currency and b.date = c.date
        and b.project_id is not distinct from k.project_id
),
-- week 0 is today's forecast, the others those of the backtest
history as materialized (
    select o.week, d.key, d.date, d.weekday, d.recurring_e10, d.date > d.as_of - 7 * o.week - 28 as is_recent
    from daily d
    join (select unnest(range(0, 9))::integer as week) o
        on d.date > d.as_of - 7 * o.week - 56 and d.date <= d.as_of - 7 * o.week
    where d.is_history
),
medians as (
    select
        key, week, weekday,
        (quantile_disc(recurring_e10, 0.5) - quantile_disc(-recurring_e10, 0.5)) // 2 as median_e10,
        count(*) as days
    from history
    group by all
),
-- how the last 28 days compare with their weekdays; null where the weekday costs nothing
compared as (
    select
        h.key, h.week, h.recurring_e10, m.median_e10,
        h.recurring_e10 * 10000000000 // nullif(m.median_e10, 0) as times_e10,
        quantile_disc(times_e10, 0.5) over (partition by h.key, h.week) as middle_e10
    from history h
    join medians m on m.key = h.key and m.week = h.week and m.weekday = h.weekday
    where h.is_recent
),
levels as (
    select
        key, week,
        sum(recurring_e10) filter (4 * times_e10 >= middle_e10 and times_e10 <= 4 * middle_e10) * 10000000000
            // sum(median_e10) filter (4 * times_e10 >= middle_e10 and times_e10 <= 4 * middle_e10) as level_e10,
        case
            when count(*) = 1 then sum(recurring_e10)
            else (sum(recurring_e10) - max(recurring_e10)) // (count(*) - 1)
        end as mean_e10
    from compared
    group by all
),
expected as (
    select l.key, l.week, w.weekday, coalesce(m.median_e10 * l.level_e10 // 10000000000, l.mean_e10) as expected_e10
    from levels l
    cross join (select unnest(range(1, 8)) as weekday) w
    left join medians m on m.key = l.key and m.week = l.week and m.weekday = w.weekday
),
backtest as (
    select e.key, e.week, sum(e.expected_e10) as forecast_e10, sum(d.recurring_e10) as actual_e10
    from daily d
    join expected e
        on e.key = d.key and e.weekday = d.weekday
        and d.date > d.as_of - 7 * e.week and d.date <= d.as_of - 7 * (e.week - 1)
    where e.week > 0
        and (e.key, e.week) in (select (key, week) from medians group by key, week having sum(days) >= 14)
    group by all
    having count(*) = 7
),
errors as (
    select
        key,
        sum(abs(actual_e10 - forecast_e10) * 10000000000 // nullif(actual_e10, 0))
            // nullif(count(*) filter (actual_e10 > 0), 0) as error_e10,
        count(*) filter (forecast_e10 > 0) as weeks,
        min(actual_e10 * 10000000000 // nullif(forecast_e10, 0), 2) as least_e10,
        max(actual_e10 * 10000000000 // nullif(forecast_e10, 0), 2) as most_e10
    from backtest
    group by all
),
-- of 8 values at most, the quantiles lie between the two at the end
intervals as (
    select
        key,
        least(least_e10[1] + (least_e10[2] - least_e10[1]) * (weeks - 1) // 10, 10000000000) as low_e10,
        greatest(most_e10[1] - (most_e10[1] - most_e10[2]) * (weeks - 1) // 10, 10000000000) as high_e10
    from errors
    where weeks >= 4
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
        k.key, k.organization, k.scope, k.project_id, k.currency, k.first_date is not null as has_cost, m.month,
        m.this_month, m.as_of, m.closed_days,
        coalesce(sum(d.amount), 0)::decimal(38, 20) as month_to_date,
        (month_to_date::decimal(38, 10) * 10000000000)::hugeint as month_to_date_e10
    from keys k
    join months m using (organization)
    left join daily d on d.key = k.key and date_trunc('month', d.date) = m.month
    group by all
),
-- the current month's days that are not closed: those to come, and any that was never read
open_days as (
    select
        m.organization, m.month,
        unnest(generate_series(m.month::timestamp, last_day(m.month)::timestamp, interval 1 day))::date as date
    from months m
    where m.month = m.this_month
),
to_come as (
    select e.key, o.month, sum(e.expected_e10) as to_come_e10
    from (select * from open_days anti join closed using (organization, date)) o
    join keys k using (organization)
    join expected e on e.key = k.key and e.week = 0 and e.weekday = isodow(o.date)
    group by all
),
-- a month's own budget counts before one for every month
budgeted as (
    select
        t.key, t.month,
        arg_min(b.amount, b.month is null)::decimal(38, 20) as budget, arg_min(b.source, b.month is null) as budget_source
    from to_date t
    join budgets b
        on b.organization = t.organization and b.scope = t.scope and b.currency = t.currency
        and b.project_id is not distinct from t.project_id and coalesce(b.month, t.month) = t.month
    group by all
),
forecasts as (
    select
        t.*,
        r.error_e10,
        coalesce(c.to_come_e10, 0) as to_come_e10,
        (coalesce(c.to_come_e10, 0)::decimal(38, 0) * 0.0000000001)::decimal(38, 20) as to_come,
        case when t.month < t.this_month then 10000000000 else i.low_e10 end as low_e10,
        case when t.month < t.this_month then 10000000000 else i.high_e10 end as high_e10,
        b.budget,
        b.budget_source
    from to_date t
    left join errors r using (key)
    left join intervals i using (key)
    left join budgeted b on b.key = t.key and b.month = t.month
    left join to_come c on c.key = t.key and c.month = t.month
)
select
    organization,
    month,
    scope,
    project_id,
    currency,
    as_of,
    budget,
    budget_source,
    month_to_date,
    ((month_to_date_e10 // closed_days)::decimal(38, 0) * 0.0000000001)::decimal(38, 20) as run_rate,
    (month_to_date + to_come)::decimal(38, 20) as forecast,
    (month_to_date + (to_come_e10 * low_e10 // 10000000000)::decimal(38, 0) * 0.0000000001)::decimal(38, 20)
        as forecast_low,
    (month_to_date + (to_come_e10 * high_e10 // 10000000000)::decimal(38, 0) * 0.0000000001)::decimal(38, 20)
        as forecast_high,
    case when month < this_month then 0 else last_day(month) - as_of end::bigint as days_left,
    (last_day(month) - month + 1 - closed_days
        - case when month < this_month then 0 else last_day(month) - as_of end)::bigint as days_missing,
    (error_e10::decimal(38, 0) * 0.0000000001)::decimal(38, 20) as backtest_error,
    ((month_to_date_e10 * 10000000000 // nullif((budget::decimal(38, 10) * 10000000000)::hugeint, 0))::decimal(38, 0)
        * 0.0000000001)::decimal(38, 20) as share_used,
    case
        when budget is null then 'no_budget'
        when not has_cost then 'no_cost'
        when month_to_date > budget then 'breached'
        when month_to_date + to_come > budget then 'at_risk'
        else 'ok'
    end as status
from forecasts
