"""What the usage costs: billing lines derived from usage events, and the few that have none behind them.

Put prices times quantities here, in exact integers; list prices are in `catalogue`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.simulator.catalogue import CHARGES, GENERIC_MODELS, MODELS, UNITS_BILLED, Model
from usage_pipeline.simulator.chance import chance
from usage_pipeline.simulator.events import NEVER, Event
from usage_pipeline.simulator.roster import Roster
from usage_pipeline.simulator.tokens import has_token_parts, parts_of
from usage_pipeline.simulator.workloads import Value
from usage_pipeline.windows import DAY_SECONDS, day_start

AMOUNT_PLACES = 16  # amounts are whole numbers of 10^-16 USD until they leave the simulator
QUANTITY_PLACES = 6

_HOUR = 3600
_BILLED_AFTER = 8 * _HOUR  # the open day's costs run about this far behind
_REBILLED_AFTER = 5 * _HOUR  # and follow a restatement of usage by this
_PER_MICROUNIT = Decimal(10) ** (AMOUNT_PLACES - QUANTITY_PLACES - 6)
_GIBIBYTE = 1 << 30
_HALF_PRICE = {"flex"}
_DOUBLE_PRICE = {"priority"}

Line = tuple[str, str | None, int, int]  # line item, unit, quantity in 10^-6, amount in 10^-16 USD


def cost_events(costs: Endpoint, usage: Mapping[str, tuple[Endpoint, Sequence[Event]]]) -> list[Event]:
    """The billing lines of a day's usage, as events of the costs endpoint."""
    found: list[Event] = []
    for endpoint, events in usage.values():
        names = endpoint.dimension_names
        for event in events:
            fields = dict(zip(names, event.values, strict=True))
            revised = _lines(endpoint, event, fields, event.revised) if event.revised else []
            for position, line in enumerate(_lines(endpoint, event, fields, event.parts)):
                found.append(_cost_event(costs, event, fields, line, revised[position] if revised else None))
    return found


def standing_events(costs: Endpoint, seed: int, day: date, roster: Roster) -> list[Event]:
    """Lines no usage stands behind: now and then a credit to the whole organization, or a fine-tuning."""
    rng = chance(seed, "standing", day)
    at = int(day_start(day).timestamp()) + rng.randrange(DAY_SECONDS)
    found: list[Event] = []
    if rng.random() < 0.04:
        credit = -rng.randrange(1, 2_000) * 10 ** (AMOUNT_PLACES - 2)
        fields: dict[str, Value] = {"line_item": "credit adjustment", "api_source": "unlabeled"}
        found.append(_event(costs, at, fields, (credit, 0), None))
    if rng.random() < 0.04:
        tokens = rng.randrange(200_000, 3_000_000)
        fields = {
            "project_id": rng.choice(roster.projects).id,
            "user_id": rng.choice(roster.users).id,
            "line_item": "ft-gpt-4o-2024-08-06 training",
            "api_source": "unlabeled",
        }
        found.append(_event(costs, at, fields, (_priced(tokens * 10**6, "25"), tokens * 10**6), "tokens"))
    return found


def _event(costs: Endpoint, at: int, fields: Mapping[str, Value], parts: tuple[int, int], unit: str | None) -> Event:
    values = tuple(fields.get(name) for name in costs.dimension_names)
    return Event(at, 0, values, parts, at + _BILLED_AFTER, unit=unit)


def _cost_event(costs: Endpoint, event: Event, fields: Mapping[str, Value], line: Line, revised: Line | None) -> Event:
    """One line of one usage event; it is billed, and corrected, some hours after the usage is seen to be."""
    line_item, unit, quantity, amount = line
    billed = {"api_source": "unlabeled", **fields, "line_item": line_item}
    made = _event(costs, event.at, billed, (amount, quantity), unit)
    made.shard = event.shard
    made.seen_at = max(made.seen_at, event.seen_at) + event.seen_at % _HOUR
    made.gone_at = min(event.gone_at + _REBILLED_AFTER, NEVER)
    if revised is not None:
        made.revised_at, made.revised = event.revised_at + _REBILLED_AFTER, (revised[3], revised[2])
    return made


def _lines(endpoint: Endpoint, event: Event, fields: Mapping[str, Value], parts: tuple[int, ...]) -> list[Line]:
    """What one usage event is billed as; nothing for an endpoint without a price."""
    charge = CHARGES.get(endpoint.name)
    if charge is not None:
        is_storage = charge.quantity_unit == "gibibyte_hours"
        quantity = parts[0] * 10**QUANTITY_PLACES // (_GIBIBYTE if is_storage else 1)
        return [(charge.line_item, charge.quantity_unit, quantity, _priced(quantity, charge.usd))]
    model = _model(endpoint, fields)
    if model is None:
        return []
    if has_token_parts(endpoint):
        return [*_token_lines(model, event, fields, parts)]
    quantity = parts[0] * 10**QUANTITY_PLACES
    unit = UNITS_BILLED.get(endpoint.measures[0].unit)
    return [(_plain_line_item(model, unit, fields), unit, quantity, _priced(quantity, model.input_usd))]


def _token_lines(model: Model, event: Event, fields: Mapping[str, Value], parts: tuple[int, ...]) -> Iterator[Line]:
    """Input, cached input and output of a model, a line even where it is zero tokens and so zero money."""
    surface = "evals | " if "mini" in model.name and event.workload % 5 == 0 else ""
    billed_as = surface + _billed_model(model.name)
    for direction, usd, names in (
        ("input", model.input_usd, ("text", "audio", "image", "write_30m", "write_12h")),
        ("cached input", model.cached_usd, ("cached_text", "cached_audio", "cached_image")),
        ("output", model.output_usd, ("out_text", "out_audio", "out_image")),
    ):
        quantity = parts_of(parts, *names) * 10**QUANTITY_PLACES
        yield f"{billed_as}, {direction}", "tokens", quantity, _tiered(_priced(quantity, usd), fields)


def _billed_model(name: str) -> str:
    """The model as bills write it: a fine-tune loses its organization and name."""
    return f"ft-{name.split(':')[1]}" if name.startswith("ft:") else name


def _plain_line_item(model: Model, unit: str | None, fields: Mapping[str, Value]) -> str:
    if unit == "tokens":
        return f"{model.name}, input"
    if unit == "images" and model.name == "dall-e-3":
        return f"dall-e 3, standard, {fields.get('size')}"
    return model.name


def _model(endpoint: Endpoint, fields: Mapping[str, Value]) -> Model | None:
    models = MODELS.get(endpoint.name, GENERIC_MODELS)
    return next((model for model in models if model.name == fields.get("model")), None)


def _priced(quantity: int, usd_per_million: str) -> int:
    """The amount of a quantity in millionths; exact for prices of up to four decimals."""
    return quantity * int(Decimal(usd_per_million) * _PER_MICROUNIT)


def _tiered(amount: int, fields: Mapping[str, Value]) -> int:
    """Batch and flex work at half the list price, priority at double."""
    if fields.get("batch") is True or fields.get("service_tier") in _HALF_PRICE:
        return amount // 2
    return amount * 2 if fields.get("service_tier") in _DOUBLE_PRICE else amount
