"""What the report asks the published file, one statement each; a statement gets the parameters it names.

Put SQL here and no arithmetic on its answers. Of each id the last name it had counts, as in `explain`.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import identifier, tables_read

Row = tuple[Any, ...]
Ask = Callable[[str, dict[str, Any]], list[Row]]

_PARAMETER = re.compile(r"\$(\w+)")
_MONEY = [name for name, endpoint in ENDPOINTS.items() if endpoint.is_money]
_REQUESTS = "num_model_requests"

# The first day known to have a bill, and the last closed one; else the last with any bill, else the last known one.
KNOWN = """
select (
    select min(date) from meta.coverage
    where organization = $organization and endpoint in (select unnest($money)) and rows > 0
), coalesce(
    (select max(as_of) from marts.budget_status where organization = $organization),
    (
        select max(date) from meta.coverage
        where organization = $organization and endpoint in (select unnest($money)) and rows > 0
    ),
    (select max(date) from meta.coverage where organization = $organization)
)
"""
CURRENCIES = """
select currency, sum(amount) from marts.cost_daily_by_project
where organization = $organization and date >= $first and date < $end and currency is not null
group by currency order by count(distinct date) desc, currency
"""
BY_PROJECT = """
select date, project_id, sum(amount) from marts.cost_daily_by_project
where organization = $organization and date >= $first and date < $end and currency = $currency
group by all order by all
"""
# What has no model is told apart by its kind: storage, tools, trainings.
BY_MODEL = """
select date, model, case when model is null then coalesce(line_kind, 'other') end, sum(amount)
from marts.cost_allocated
where organization = $organization and date >= $first and date < $end and currency = $currency
group by all order by all
"""
BY_USER = """
select user_id, coalesce(arg_max(user_name, date), arg_max(user_email, date)), false, sum(amount)
from marts.cost_by_user
where organization = $organization and date >= $first and date < $end and currency = $currency
group by user_id order by 4 desc, 1
"""
BY_KEY = """
select api_key_id, arg_max(api_key_name, date), coalesce(arg_max(api_key_is_deleted, date), false), sum(amount)
from marts.cost_by_key
where organization = $organization and date >= $first and date < $end and currency = $currency
group by api_key_id order by 4 desc, 1
"""
BY_TEAM = """
select team, cost_center, false, sum(amount)
from marts.cost_by_team
where organization = $organization and date >= $first and date < $end and currency = $currency
group by all order by 4 desc, 1, 2
"""
PROJECTS = """
select id, name, is_deleted from dims.project_names
where organization = $organization and until_date = date '9999-12-31'
"""
BUDGETS = """
select
    scope, project_id, budget, month_to_date, forecast, forecast_low, forecast_high, backtest_error, share_used, status,
    as_of, days_left, days_missing
from marts.budget_status where organization = $organization and month = $month and currency = $currency
order by scope, share_used desc nulls last, month_to_date desc, project_id
"""
MONTH_DAYS = """
select date, sum(amount) from marts.cost_daily_by_project
where organization = $organization and date >= $month and date < $end and currency = $currency
group by date order by date
"""
ANOMALIES = """
select date, dimension, key, amount, expected, direction, is_order_of_magnitude, drivers
from marts.anomalies
where organization = $organization and date >= $first and date < $end and currency = $currency
order by date desc, dimension = 'total' desc, abs(amount - expected) desc, key
"""
RECONCILIATION = """
select
    coalesce(sum(billed), 0), coalesce(sum(billed) filter (is_comparable), 0),
    coalesce(sum(estimated) filter (is_comparable), 0), coalesce(sum(explained) filter (is_comparable), 0)
from marts.reconciliation_daily
where organization = $organization and date >= $first and date < $end and currency = $currency
"""
USAGE = """
select
    date, coalesce(sum(num_model_requests), 0)::bigint,
    (coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0))::bigint
from marts.usage_daily_by_model
where organization = $organization and date >= $first and date < $end
group by date order by date
"""
MODEL_USAGE = """
select
    model, coalesce(sum(num_model_requests), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint,
    coalesce(sum(output_tokens), 0)::bigint
from marts.usage_daily_by_model
where organization = $organization and date >= $first and date < $end
group by model order by model
"""
COVERAGE = """
select endpoint, date, rows, bucket_width, is_settled, checked_at from meta.coverage
where organization = $organization and date >= $first and date < $end
order by all
"""
RESTATEMENTS = """
select endpoint, date, count(*)::bigint, max(recorded_at) from meta.restatements
where organization = $organization and date >= $first and date < $end and not was_provisional
group by all order by all
"""
SYNCED = """
select max(fetched_at) from meta.sync_log
where organization = $organization and endpoint in (select unnest($money))
"""
DRIFT = """
select endpoint, said, count(*)::bigint, max(fetched_at)
from (select endpoint, fetched_at, unnest(drift) as said from meta.sync_log where organization = $organization)
group by all order by 4 desc, 1, 2
"""
_HOURLY = (
    "select date, bucket_start, {requests} as requests from usage.{table} "
    "where organization = $organization and date >= $first and date < $end and bucket_width <> '1d'"
)
# Requests by weekday (Monday is 1) and hour, of days held by the hour or the minute, and how many such days there are.
_HOURS = """
with used as ({usage}),
known as (
    select isodow(date) as weekday, count(distinct date)::bigint as days from meta.coverage
    where organization = $organization and date >= $first and date < $end and bucket_width <> '1d'
    group by all
)
select isodow(date) as weekday, hour(bucket_start) as hour, sum(requests)::bigint, any_value(days)
from used join known on known.weekday = isodow(used.date)
group by all order by all
"""
HOURS = _HOURS.format(
    usage=" union all ".join(
        _HOURLY.format(requests=identifier(_REQUESTS), table=identifier(name))
        for name, endpoint in ENDPOINTS.items()
        if _REQUESTS in {measure.name for measure in endpoint.measures}
    )
)
_STATEMENTS = (
    KNOWN, CURRENCIES, BY_PROJECT, BY_MODEL, BY_USER, BY_KEY, BY_TEAM, PROJECTS, BUDGETS, MONTH_DAYS, ANOMALIES,
    RECONCILIATION, USAGE, MODEL_USAGE, COVERAGE, RESTATEMENTS, SYNCED, DRIFT, HOURS,
)  # fmt: skip
_BEHIND_EXPLAIN = {"marts.cost_drivers_daily"}


def put(ask: Ask, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """The answer to a statement, given those of the values it names."""
    known = {"money": _MONEY, **values}
    return ask(statement, {name: known[name] for name in _PARAMETER.findall(statement)})


@cache
def marts_read() -> frozenset[str]:
    """The marts the report stands on."""
    read = _BEHIND_EXPLAIN.union(*(tables_read(_PARAMETER.sub("null", statement)) for statement in _STATEMENTS))
    return frozenset(name.removeprefix("marts.") for name in read if name.startswith("marts."))
