"""The user's own prices: `prices.csv` in the data folder, checked line by line.

Put reading and checking of that file here; how its rows are joined with the price book is decided in prices.py.
"""

import re
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from usage_pipeline.lake.dims import PRICES
from usage_pipeline.marts.derived_meters import TOKEN_METERS, known_meters
from usage_pipeline.marts.user_files import Currency, read_user_csv, wrong_line

PRICES_FILE = "prices.csv"
SOURCE = "override"
_EXAMPLE = "model,meter,valid_from,price / gpt-4o*,input,2026-01-01,1.25"
_PER_TOKENS = 1_000_000
_TIER = re.compile("[a-z][a-z0-9_-]*")


class Override(BaseModel):
    """One line of the file. A cell left empty means: any tier, batch or not, always, per million tokens, usd."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, str_to_lower=True)

    model: Annotated[str, Field(min_length=1, max_length=256)]
    meter: str
    service_tier: str | None = None
    batch: bool | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    # Bounds that keep quantity x price inside DuckDB's whole numbers, far above any price.
    price: Annotated[Decimal, Field(ge=0, le=100_000, decimal_places=12, allow_inf_nan=False)]
    per: Annotated[int, Field(ge=1, le=10**12)] | None = None
    currency: Currency = "usd"

    @field_validator("model")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        if "*" in value[:-1]:
            raise ValueError("a * may stand only at the end, for every name that begins so")
        return value

    @field_validator("meter")
    @classmethod
    def _check_meter(cls, value: str) -> str:
        if value not in known_meters():
            raise ValueError(f"not a meter: use one of {', '.join(known_meters())}")
        return value

    @field_validator("service_tier")
    @classmethod
    def _check_tier(cls, value: str | None) -> str | None:
        # The endpoint table leaves tiers open, for the service adds some: a known word cannot be told from a new one.
        if value is not None and not _TIER.fullmatch(value):
            raise ValueError("a tier is one word, as service_tier in usage.completions: default, flex, priority, ...")
        return "default" if value == "standard" else value  # two names of one tier, as marts/usage_priced.sql knows

    @field_validator("valid_to")
    @classmethod
    def _check_order(cls, value: date | None, info: Any) -> date | None:
        start = info.data.get("valid_from")
        if value is not None and start is not None and value <= start:
            raise ValueError("it is the day before which the price holds, so it must come after valid_from")
        return value

    @property
    def is_prefix(self) -> bool:
        """Whether the line is for every name that begins with the pattern."""
        return self.model.endswith("*")

    @property
    def pattern(self) -> str:
        """What names are compared with."""
        return self.model.removesuffix("*")

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Exact names first, then longer beginnings before shorter."""
        return self.is_prefix, -len(self.pattern), self.pattern

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the price is for; the same twice must not hold on the same day."""
        return self.model, self.meter, self.service_tier or "", str(self.batch)


def read_overrides(path: Path) -> pa.Table:
    """The file's lines as rows of `dims.prices`; none where there is no file.

    Raises:
        FixConfig: the file cannot be read or a line is wrong.
    """
    lines = dict(read_user_csv(path, Override, example=_EXAMPLE))
    _refuse_overlaps(path, lines)
    ranks = {rank: place for place, rank in enumerate(sorted({line.rank for line in lines.values()}))}
    rows = [_row(line, ranks[line.rank]) for line in lines.values()]
    return pa.Table.from_pylist(rows, schema=PRICES.schema)


def _row(line: Override, priority: int) -> dict[str, Any]:
    return {
        "source": SOURCE,
        "is_override": True,
        "priority": priority,
        "model": line.model,
        "match": "starts_with" if line.is_prefix else "equals",
        "pattern": line.pattern,
        "meter": line.meter,
        "service_tier": line.service_tier,
        "is_batch": line.batch,
        "valid_from": line.valid_from,
        "valid_to": line.valid_to,
        "price": line.price,
        "per": line.per or (_PER_TOKENS if line.meter in TOKEN_METERS else 1),
        "currency": line.currency,
        "has_threshold": False,
    }


def _refuse_overlaps(path: Path, lines: dict[int, Override]) -> None:
    """Two prices for the same on the same day leave open which one counts."""
    ordered = sorted(lines.items(), key=lambda item: (item[1].key, item[1].valid_from or date.min))
    for (first, before), (second, after) in pairwise(ordered):
        is_over = before.valid_to is not None and before.valid_to <= (after.valid_from or date.min)
        if before.key == after.key and not is_over:
            problem = (
                f"the price of line {first} for the same model, meter, tier and batch still holds then: give that line "
                "a valid_to, or remove one of the two"
            )
            raise wrong_line(path, second, "valid_from", problem, _EXAMPLE)
