"""The answer side of the served contract: rows of a source to the JSON text of a page.

Put the wire's shapes here, money's three forms among them; no exact number passes through a binary float. What is in
a page is decided in `usage_pipeline.api.query` and by the source.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from usage_pipeline.api.query import Bounds
from usage_pipeline.endpoints import Endpoint
from usage_pipeline.windows import utc_moment

_STRING_DIGITS = 34  # significant digits of the string form: those of IEEE decimal128
_STRING_ZERO = "0E-6176"  # decimal128's smallest exponent, seen live
_FLOAT_DIGITS = 17  # no printed binary float has more
_SCIENTIFIC_BELOW = Decimal("0.0001")  # where printed floats turn to an exponent
_EXACT = Context(prec=200)


def page_text(
    endpoint: Endpoint,
    bounds: Sequence[Bounds],
    results: Sequence[Sequence[Mapping[str, Any]]],
    next_page: str | None,
) -> str:
    """The page envelope: one bucket for each of the bounds, a quiet one with empty results."""
    buckets = ",".join(_bucket_text(endpoint, *pair) for pair in zip(bounds, results, strict=True))
    cursor, has_more = json.dumps(next_page), json.dumps(next_page is not None)
    return f'{{"object":"page","has_more":{has_more},"next_page":{cursor},"data":[{buckets}]}}'


def money_literal(amount: Decimal, seed: int) -> str:
    """The JSON text of an amount, in one of the forms seen live; each denotes exactly the given value.

    The seed picks string or number; a number is scientific where it is tiny, as a printed float would be.
    """
    as_number = number_literal(amount)
    if seed % 2 == 0 and _digits(amount) <= _FLOAT_DIGITS:
        return as_number
    return f'"{_STRING_ZERO if amount == 0 else _padded(amount)}"'


def number_literal(value: Decimal) -> str:
    """The value as a float of the same decimal digits would print: `30.0`, `0.12744`, `1.29e-05`."""
    exact = value.normalize(_EXACT)
    if exact == 0:
        return "0.0"
    if abs(exact) < _SCIENTIFIC_BELOW:
        sign, digits, _ = exact.as_tuple()
        tail = "".join(map(str, digits[1:]))
        return f"{'-' * sign}{digits[0]}{'.' * bool(tail)}{tail}e-{-exact.adjusted():02d}"
    plain = format(exact, "f")
    return plain if "." in plain else f"{plain}.0"


def _digits(value: Decimal) -> int:
    return len(value.normalize(_EXACT).as_tuple().digits)


def _padded(value: Decimal) -> str:
    """All 34 digits, trailing zeros included; a longer value is written as it is, never rounded."""
    if _digits(value) > _STRING_DIGITS:
        return format(value, "f")
    quantum = Decimal((0, (1,), value.adjusted() - _STRING_DIGITS + 1))
    return format(value.quantize(quantum, context=_EXACT), "f")


def _bucket_text(endpoint: Endpoint, bounds: Bounds, rows: Sequence[Mapping[str, Any]]) -> str:
    start, end = bounds
    head: dict[str, Any] = {"object": "bucket", "start_time": start, "end_time": end}
    if endpoint.is_money:  # undocumented, seen live on costs; the offset is there on some buckets only
        for name, moment in (("start_time_iso", start), ("end_time_iso", end)):
            iso = utc_moment(moment).isoformat()
            head[name] = iso.removesuffix("+00:00") if rows else iso
    spoken_for = _spoken_for(endpoint)
    results = ",".join(_result_text(endpoint, start, row, spoken_for) for row in rows)
    return f'{_dumps(head)[:-1]},"results":[{results}]}}'


def _result_text(endpoint: Endpoint, start: int, row: Mapping[str, Any], spoken_for: set[str]) -> str:
    """One result: its object, measures, every dimension (null where not grouped), and the fields not spoken for."""
    plain: dict[str, Any] = {"object": endpoint.result_object}
    literals: list[str] = []
    for measure in endpoint.measures:
        if measure.name not in row:
            continue
        value = row[measure.name]
        if measure.kind == "money":
            literals.append(f'"{measure.name}":{_amount_text(endpoint, start, row, value)}')
        elif measure.kind == "quantity" and value is not None:
            literals.append(f'"{measure.name}":{number_literal(value)}')
        else:
            plain[measure.name] = value
    for dimension in endpoint.dimensions:
        plain[dimension.name] = row.get(dimension.name)
    plain.update((name, value) for name, value in row.items() if name not in spoken_for)
    return "".join((_dumps(plain)[:-1], *(f",{text}" for text in literals), "}"))


def _amount_text(endpoint: Endpoint, start: int, row: Mapping[str, Any], amount: Decimal | None) -> str:
    if amount is None:
        return "null"
    identity = f"{start}:{[row.get(name) for name in endpoint.dimension_names]}"
    literal = money_literal(amount, zlib.crc32(identity.encode()))
    return f'{{"value":{literal},"currency":{json.dumps(row.get("currency"))}}}'


def _spoken_for(endpoint: Endpoint) -> set[str]:
    """Fields written elsewhere: dimensions, measures, and the currency, which goes inside the amount."""
    return {*endpoint.dimension_names, *(m.name for m in endpoint.measures), "currency"}


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
