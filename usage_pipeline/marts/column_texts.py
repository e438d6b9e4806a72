"""What each column of a mart means: what SQL clients and Dagster show beside its name.

Put the words here. A column that usage or costs have too is described once, by the endpoint table.
"""

from collections.abc import Iterable, Mapping
from functools import cache

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.schemas import columns
from usage_pipeline.marts.focus_columns import COLUMNS, EXTRA_COLUMNS

_TEXTS: dict[str, str] = {
    "endpoint": "Endpoint the usage was read from, a table of the schema usage.",
    "meter": "What is counted: input, cached input, output, requests, characters, ...",
    "measure": "Column of the endpoint's table that the value is the sum of.",
    "is_additive": "Whether the value may be summed over time; a level, as bytes stored, may not.",
    "value": "Sum of the measure over the day; of a level, its value at the end of the day.",
    "unit": "Unit of the quantity.",
    "quantity": "How many units.",
    "price": "List price of `per` units on the day.",
    "per": "How many units the price is for.",
    "estimated_cost": "quantity x price / per, exact to the 20th decimal; null where no price is known.",
    "price_basis": "exact, model_alias or tier_assumed: how well the price fits; unpriced: there is none.",
    "has_threshold": "Whether dearer rates exist above a size per request: the estimate is then a lower bound.",
    "price_source": "Where the price is from: an override of prices.csv, or the price book.",
    "price_model": "What the price's source calls the model.",
    "price_meter": "Meter the price is given for, where it stands in for the row's own.",
    "amount": "Money, exact.",
    "project_name": "The project's name on the day; null where no list gave one.",
    "api_key_name": "The API key's name on the day; null where no list gave one.",
    "api_key_is_deleted": "Whether the last complete list of keys lacked it.",
    "user_name": "The user's, or the service account's, name on the day.",
    "user_email": "The user's email address on the day.",
    "team": "Team by tags.csv; null: untagged.",
    "cost_center": "Cost centre by tags.csv; null: untagged.",
    "line_kind": "What the billing line is for: model, tool, storage, training or other.",
    "line_meter": "Meter the billing line names.",
    "billed_api_key_id": "API key the bill itself names.",
    "billed_user_id": "User the bill itself names.",
    "billed_amount": "The whole billed row this part is of.",
    "share": "This part of the billed row, as a fraction of one.",
    "reason": "Why the part could not be spread over usage; null where it was.",
    "basis": "What it was spread by: priced usage, quantity, or as billed.",
    "first_day": "First day of such usage.",
    "last_day": "Last day of such usage.",
    "model_family": "Model without its date.",
    "billed": "What the bill says.",
    "estimated": "What usage costs at list prices.",
    "delta": "billed - estimated.",
    "explained": "Of the bill, what was spread by price, but no more than the estimate.",
    "ratio": "billed / estimated, cut off at the 10th decimal.",
    "explained_share": "explained / billed, cut off at the 10th decimal.",
    "has_unpriced": "Whether usage without a known price is among it.",
    "is_exact": "Whether every price is that of the very model and tier.",
    "assumed": "Of the estimate, what is at a price that stands in for want of a better one.",
    "is_comparable": "Whether bill and estimate can be compared: not where a price is missing; no credits and fees.",
    "month": "First day of the month.",
    "scope": "organization, or project.",
    "as_of": "Last closed day that was counted: its bill had had time to come in.",
    "budget": "What the month may cost; null: no budget.",
    "budget_source": "budgets.csv, or spend_limit where the service keeps it.",
    "month_to_date": "Billed on the month's closed days.",
    "run_rate": "month_to_date by closed day.",
    "forecast": "month_to_date and what the other days are expected to cost.",
    "forecast_low": "The forecast's 10 % quantile, by its own past errors; null with fewer than four weeks of them.",
    "forecast_high": "The forecast's 90 % quantile, by its own past errors; null with fewer than four weeks of them.",
    "days_left": "Days of the month after as_of.",
    "days_missing": "Days of the month up to as_of whose bill is not known.",
    "backtest_error": "Mean absolute error of the same forecast over up to eight past weeks, as a fraction.",
    "share_used": "month_to_date / budget.",
    "status": "breached, at_risk, ok, no_budget; no_cost: a budget to which nothing was billed.",
    "dimension": "What the series is of: total, project or model.",
    "key": "Value of the dimension; null for the total.",
    "expected": "What the day was expected to cost: the median of the weekday, or of all days, in its history.",
    "robust_z": "(amount - expected) / the usual spread of its history.",
    "direction": "up or down.",
    "is_order_of_magnitude": "Whether it is eight times as much as expected or more, or an eighth or less.",
    "history_days": "Days of history it was judged by.",
    "drivers": "What the difference is made of, the largest first, as JSON text.",
}


@cache
def _described() -> Mapping[str, str]:
    """Columns by name, as the endpoint table, FOCUS and the words above have them; the last counts."""
    known = {name: text for endpoint in ENDPOINTS.values() for name, _, text in columns(endpoint)}
    focus = {column.name: f"FOCUS: {column.level}, {column.kind}." for column in COLUMNS}
    return known | focus | EXTRA_COLUMNS | _TEXTS


def column_texts(names: Iterable[str]) -> dict[str, str]:
    """What the columns mean, of those that are described."""
    return {name: _described()[name] for name in names if name in _described()}
