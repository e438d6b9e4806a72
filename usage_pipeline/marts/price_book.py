"""The price book: the OpenAI prices of `genai-prices`, flattened into rows of `dims.prices`.

Put reading of that package here and nothing else: importing this module imports it, so import it only when its rows
are wanted. When its rows are wanted is decided in prices.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
from genai_prices.data import providers
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
)

from usage_pipeline.lake.dims import PRICES
from usage_pipeline.lake.engine import session

_PROVIDER = "openai"
_CURRENCY = "usd"  # the book states every price in US dollars
FIRST_PRIORITY = 1_000_000  # overrides count from 0

# The book's price keys by the meter they price; `ignored` ones say again what another key says.
METERS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached input",
    "cache_write_mtok": "cache write",
    "output_mtok": "output",
    "input_audio_mtok": "audio input",
    "cache_audio_read_mtok": "cached audio input",
    "output_audio_mtok": "audio output",
    "input_image_mtok": "image input",
    "cache_image_read_mtok": "cached image input",
    "output_image_mtok": "image output",
    "input_mchars": "characters",
    "audio_hours": "seconds",
    "web_searches_kcount": "web search calls",
    "storage_searches_kcount": "file search calls",
}
IGNORED_KEYS = {"input_audio_hours"}
_TOOLS = ("web search calls", "file search calls")
_PER = {unit.get("price_key", name): int(unit["per"]) for name, unit in unit_data.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Price:
    """One price over one span of days; `tier` and `is_batch` None: the base rate."""

    meter: str
    tier: str | None
    is_batch: bool | None
    price: Decimal
    per: int
    has_threshold: bool
    start: date | None
    end: date | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What the price is for, in an order."""
        return self.meter, self.tier or "", str(self.is_batch)

    @property
    def value(self) -> tuple[Decimal, int, bool]:
        """What it is."""
        return self.price, self.per, self.has_threshold


@cache
def book_table(source: str) -> pa.Table:
    """Every row of the book, under the name of its source."""
    models = next(provider for provider in providers if provider.id == _PROVIDER).models
    found = [
        (model.id, match, pattern, price)
        for model in models
        for match, pattern in sorted(set(_rules(model.match)), key=lambda rule: (rule[0] != "equals", rule))
        for price in _prices(model)
    ]
    found += [("any", "no_model", "", price) for price in _one_price_tools(models)]
    rules = {rule: place for place, rule in enumerate(dict.fromkeys(row[:3] for row in found), start=FIRST_PRIORITY)}
    rows = [_row(source, rules[row[:3]], *row) for row in found]
    return pa.Table.from_pylist(rows, schema=PRICES.schema)


def _row(source: str, priority: int, model: str, match: str, pattern: str, price: _Price) -> dict[str, Any]:
    return {
        "source": source,
        "is_override": False,
        "priority": priority,
        "model": model,
        "match": match,
        "pattern": pattern,
        "meter": price.meter,
        "service_tier": price.tier,
        "is_batch": price.is_batch,
        "valid_from": price.start,
        "valid_to": price.end,
        "price": price.price,
        "per": price.per,
        "currency": _CURRENCY,
        "has_threshold": price.has_threshold,
    }


def _rules(clause: MatchLogic) -> Iterator[tuple[str, str]]:
    """The alternatives of a match, as match and pattern. What DuckDB cannot test is left out: its models are unpriced
    and listed, never priced wrongly.
    """
    match clause:
        case ClauseOr():
            for one in clause.or_:
                yield from _rules(one)
        case ClauseEquals():
            yield "equals", clause.equals.lower()
        case ClauseStartsWith():
            yield "starts_with", clause.starts_with.lower()
        case ClauseEndsWith():
            yield "ends_with", clause.ends_with.lower()
        case ClauseContains():
            yield "contains", clause.contains.lower()
        case ClauseRegex() if _is_understood(clause.regex):
            yield "regex", clause.regex


def _is_understood(regex: str) -> bool:
    """Whether DuckDB's regular expressions (RE2) take this one, which was written for Python's."""
    with session() as con:
        answer = con.execute("select try(regexp_matches('', $regex))", {"regex": regex}).fetchone()
    return answer is not None and answer[0] is not None


def _prices(model: ModelInfo) -> list[_Price]:
    """A model's prices, spans that follow each other with the same price joined."""
    found: list[_Price] = []
    for start, end in pairwise([None, *_changes(model), None]):
        at = datetime.combine(start or (end - timedelta(days=1) if end else date.max), time(), UTC)
        found += _prices_at(model, at, start, end)
    joined: list[_Price] = []
    for _, same in groupby(sorted(found, key=lambda price: (price.key, price.start or date.min)), lambda p: p.key):
        for price in same:
            last = joined[-1] if joined else None
            if last is not None and (last.key, last.value, last.end) == (price.key, price.value, price.start):
                joined[-1] = _Price(**{**_fields(last), "end": price.end})
            else:
                joined.append(price)
    return joined


def _fields(price: _Price) -> dict[str, Any]:
    return {name: getattr(price, name) for name in price.__slots__}


def _changes(model: ModelInfo) -> list[date]:
    """The days on which any of the model's prices begins."""
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [one.constraint for one in (*conditional, *(model.price_variants or ()))]
    return sorted({one.start_date for one in constraints if isinstance(one, StartDateConstraint)})


def _prices_at(model: ModelInfo, at: datetime, start: date | None, end: date | None) -> Iterator[_Price]:
    """The base rates and those of tiers and batch that hold at a time."""
    base = _given(model.get_prices(at).__dict__)
    if not base:  # listed without any price: free, as moderation is
        yield _Price(
            meter="input", tier=None, is_batch=None, price=Decimal(0), per=1_000_000, has_threshold=False,
            start=start, end=end,
        )  # fmt: skip
    yield from _of_keys(base, None, None, start, end)
    variants = [one for one in model.price_variants or () if one.constraint is None or one.constraint.active(at)]
    for tier, is_batch in dict.fromkeys(filter(None, map(_context, variants))):
        own: dict[str, Any] = {}
        for variant in variants:
            if _context(variant) == (tier, is_batch):
                # A variant without prices says that the base rates are its own.
                own = (_given(variant.prices.__dict__) or base) | own
        yield from _of_keys(own, tier, is_batch, start, end)


def _given(prices: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in prices.items() if value is not None}


def _context(variant: PriceVariant) -> tuple[str | None, bool | None] | None:
    """The service tier and batch a variant is for; None where it is for something usage does not tell."""
    if not variant.when.keys() <= {"service_tier", "processing"} or variant.when.get("processing", "batch") != "batch":
        return None
    return variant.when.get("service_tier"), True if "processing" in variant.when else None


def _of_keys(
    prices: dict[str, Any], tier: str | None, is_batch: bool | None, start: date | None, end: date | None
) -> Iterator[_Price]:
    """The prices as rows; of a rate that depends on a request's size the base alone, for a day's sum has no size."""
    for key, value in prices.items():
        if key in METERS:
            has_threshold = isinstance(value, TieredPrices)
            yield _Price(
                meter=METERS[key],
                tier=tier,
                is_batch=is_batch,
                price=value.base if has_threshold else value,
                per=_PER[key],
                has_threshold=has_threshold,
                start=start,
                end=end,
            )


def _one_price_tools(models: list[ModelInfo]) -> Iterator[_Price]:
    """Tools that cost the same with every model: their price holds also where usage names no model."""
    prices = [price for model in models for price in _prices(model)]
    for tool in _TOOLS:
        found = {price.value: price for price in prices if price.meter == tool and price.tier is None}
        if len(found) == 1:
            price = next(iter(found.values()))
            yield _Price(**{**_fields(price), "start": None, "end": None})
