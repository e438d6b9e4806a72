"""Validation at the border: the bytes of one page in, validated buckets out, or one BadPayload naming the field.

Put what makes a body a valid page of an endpoint here, derived from its row; keep out HTTP (transport.py) and what
several pages say together (listing.py). Clean pages are read by columns.py, which is held to agree with this.
Numbers with a fraction stay literal text: no binary float is ever made.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
from pydantic_core import PydanticCustomError, SchemaValidator, ValidationError, core_schema

from usage_pipeline.api.columns import LAST_MOMENT, MAX_CURSOR_CHARS, read_columns
from usage_pipeline.api.error_answers import quoted
from usage_pipeline.endpoints import ColumnKind, Dimension, Endpoint, Measure
from usage_pipeline.errors import BadPayload
from usage_pipeline.records import Bucket, NumberLiteral
from usage_pipeline.spool import KeptColumns, held_columns

_INT64 = core_schema.int_schema(strict=True, ge=-(2**63), le=2**63 - 1)
TEXT = core_schema.str_schema(strict=True)
MOMENT = core_schema.int_schema(strict=True, ge=0, le=LAST_MOMENT)
FLAG = core_schema.bool_schema(strict=True)

_NUMBER = re.compile(r"-?[0-9]{1,80}(\.[0-9]{1,120})?([eE][+-]?[0-9]{1,4})?")
_MAX_EXPONENT = 30  # far beyond any bill; keeps 1e400 from growing into a number of 400 digits downstream
# A surrogate escape without its other half: the only way one gets into decoded JSON text.
_LONE_SURROGATE = re.compile(
    r"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F])"
)


class NotJson(BadPayload):
    """The body is not JSON at all: what a cut connection or a proxy leaves behind, so worth another attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One validated page; `next_page` is the page cursor, opaque. `notes` are sentences for the run's metadata."""

    buckets: list[Bucket]
    has_more: bool
    next_page: str | None
    notes: tuple[str, ...] = ()


def parse_page(
    endpoint: Endpoint,
    body: bytes,
    *,
    where: str,
    keep: Callable[[pa.RecordBatch], KeptColumns] = held_columns,
) -> Page:
    """The page in a body. An optional field may be absent or null alike; `object` is checked and left out.

    Args:
        endpoint: The row whose fields the results must have.
        body: The decoded response body.
        where: What to call the request in errors (endpoint and window).
        keep: Keeps the columns of a page that is read in bulk.

    Raises:
        NotJson: the body is not JSON.
        BadPayload: it is JSON, and not a page of this endpoint.
    """
    found = read_columns(endpoint, body, keep)
    if found is None:
        return parse_records(endpoint, body, where=where)
    return _page(found.buckets, has_more=found.has_more, cursor=found.next_page)


def parse_records(endpoint: Endpoint, body: bytes, *, where: str) -> Page:
    """As `parse_page`, each record by itself: takes what the bulk decoder leaves, and says what is wrong with it."""
    document = json_document(body, where)
    try:
        page = _validator(endpoint).validate_python(document)
    except ValidationError as wrong:
        problem = first_problem(wrong)
    else:
        return _page(_buckets(page), has_more=page["has_more"], cursor=page.get("next_page"))
    raise BadPayload(f"{where}: {problem}; nothing of this read was kept. If it persists, the API has changed.")


def _validator(endpoint: Endpoint) -> SchemaValidator:
    return _page_validator(endpoint.result_object, endpoint.measures, endpoint.dimensions + endpoint.labels)


def _buckets(page: dict[str, Any]) -> list[Bucket]:
    """The buckets of a validated document."""
    buckets = []
    for bucket in page["data"]:
        for result in bucket["results"]:
            del result["object"]
        buckets.append(Bucket(start_time=bucket["start_time"], end_time=bucket["end_time"], results=bucket["results"]))
    return buckets


def _page(buckets: list[Bucket], *, has_more: bool, cursor: str | None) -> Page:
    """The page; `has_more` decides whether there is another one, and an empty cursor is none."""
    cursor = cursor or None
    notes = () if has_more or cursor is None else ("a page cursor came with has_more=false: has_more decided.",)
    return Page(buckets=buckets, has_more=has_more, next_page=cursor if has_more else None, notes=notes)


# From bytes to JSON values


class _Unusable(Exception):
    """JSON that would lose or bend something if it were read on; the text says what."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a repeated key is refused because the last one would win in silence."""
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Unusable(f"an object repeats the key {next(n for n in names if names.count(n) > 1)!a:.60}")
    return value


def _no_constant(name: str) -> Any:
    raise _Unusable(f"{name} is not a JSON number")


def _literal(text: str) -> NumberLiteral:
    return NumberLiteral(text=text)


def json_document(body: bytes, where: str) -> Any:
    """The JSON value of a body, exact.

    Raises:
        NotJson: the body is not JSON.
        BadPayload: it is JSON, and cannot be a page.
    """
    text, value = "", None
    fault = problem = None
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_float=_literal, parse_constant=_no_constant)
        problem = _unsendable(value) if _LONE_SURROGATE.search(text) else None
    except UnicodeDecodeError as wrong:
        fault = f"the body is not UTF-8 text (byte {wrong.start})"
    except json.JSONDecodeError as wrong:
        fault = f"the body is not JSON (at character {wrong.pos})" if text.strip() else "the body is empty"
    except RecursionError:
        problem = "the JSON is nested too deeply"
    except _Unusable as wrong:
        problem = str(wrong)
    except ValueError:
        problem = "a number has thousands of digits"
    if fault:  # raised out here: the decoder's error would hold the whole body
        raise NotJson(f"{where}: {fault}.")
    problem = problem or _not_a_page(value)
    if problem:
        raise BadPayload(f"{where}: {problem}; nothing of this read was kept.")
    return value


def _not_a_page(value: Any) -> str | None:
    """What is wrong with the outermost value, in words that name the usual causes."""
    if not isinstance(value, dict):
        return f"expected a page, got {_kind(value)}"
    if "error" in value:
        error = value["error"]
        message = error.get("message") if isinstance(error, dict) else error
        return f"answered 200 with an error instead of a page: {quoted(str(message))}"
    return None


def _unsendable(value: Any, path: str = "$") -> str | None:
    """The first text that is not encodable as UTF-8 (a lone surrogate), as a sentence with its path."""
    if isinstance(value, str):
        return None if _encodable(value) else f"{path}: the text holds half of a surrogate pair"
    if isinstance(value, list):
        children = ((f"{path}[{n}]", item) for n, item in enumerate(value))
    elif isinstance(value, dict):
        if not all(map(_encodable, value)):
            return f"{path}: a field name holds half of a surrogate pair"
        children = ((f"{path}.{name}", item) for name, item in value.items())
    else:
        return None
    return next(filter(None, (_unsendable(item, at) for at, item in children)), None)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# The shape of a page, derived from the row


def field_of(schema: core_schema.CoreSchema, *, is_required: bool = True) -> core_schema.TypedDictField:
    """A field; an optional one may be absent or null."""
    return core_schema.typed_dict_field(
        schema if is_required else core_schema.nullable_schema(schema), required=is_required
    )


@cache
def _page_validator(
    result_object: str, measures: tuple[Measure, ...], dimensions: tuple[Dimension, ...]
) -> SchemaValidator:
    """Validates pages whose results have these fields; unknown fields of a result stay, of a page or bucket go."""
    result = {"object": field_of(core_schema.literal_schema([result_object]))}
    result |= {
        d.name: field_of(_SCHEMAS[d.kind], is_required=False) for d in dimensions if not _is_in_amount(d, measures)
    }
    result |= {m.name: field_of(_SCHEMAS[m.kind], is_required=m.is_required) for m in measures}
    bucket = {
        "object": field_of(core_schema.literal_schema(["bucket"])),
        "start_time": field_of(MOMENT),
        "end_time": field_of(MOMENT),
        "results": field_of(list_of(core_schema.typed_dict_schema(result, strict=True, extra_behavior="allow"))),
    }
    page = {
        "object": field_of(core_schema.literal_schema(["page"])),
        "data": field_of(list_of(core_schema.typed_dict_schema(bucket, strict=True))),
        "has_more": field_of(FLAG),
        "next_page": field_of(core_schema.str_schema(strict=True, max_length=MAX_CURSOR_CHARS), is_required=False),
    }
    return SchemaValidator(core_schema.typed_dict_schema(page, strict=True))


def _is_in_amount(label: Dimension, measures: tuple[Measure, ...]) -> bool:
    """Whether the label travels inside the amount object instead of beside it."""
    return label.name == "currency" and any(m.kind == "money" for m in measures)


def list_of(schema: core_schema.CoreSchema) -> core_schema.CoreSchema:
    """A list of one thing."""
    return core_schema.list_schema(schema, strict=True)


def _number_text(value: Any) -> str:
    """A number in any of the forms the wire uses, as its literal text."""
    if isinstance(value, NumberLiteral):
        text = value.text
    elif isinstance(value, str):
        text = value
    elif isinstance(value, int):
        text = str(value)  # a boolean becomes a word and fails below
    else:
        raise PydanticCustomError("number", "should be a number or the text of one")
    if not _NUMBER.fullmatch(text):
        raise PydanticCustomError("number", "is not the text of a finite decimal number of sane length")
    if (number := Decimal(text)) and number.adjusted() > _MAX_EXPONENT:
        raise PydanticCustomError("number", "is beyond any bill or quantity")
    return text


_NUMBER_TEXT = core_schema.no_info_plain_validator_function(_number_text)
_SCHEMAS: dict[ColumnKind, core_schema.CoreSchema] = {
    "text": TEXT,
    "flag": FLAG,
    "count": _INT64,
    "quantity": _NUMBER_TEXT,
    "money": core_schema.typed_dict_schema(
        {"value": field_of(_NUMBER_TEXT, is_required=False), "currency": field_of(TEXT, is_required=False)},
        strict=True,
        extra_behavior="allow",
    ),
}


# Saying what was wrong


def first_problem(wrong: ValidationError) -> str:
    """The first finding as `data[0].results[3].input_tokens: ... (got text)`; values are not quoted."""
    error = wrong.errors(include_url=False, include_context=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if error["type"] == "missing":
        return f"{path}: a required field is absent"
    more = f" and {wrong.error_count() - 1} more" if wrong.error_count() > 1 else ""
    return f"{path}: {error['msg'][:1].lower()}{error['msg'][1:]} (got {_kind(error['input'])}){more}"


def _kind(value: Any) -> str:
    """What a JSON value is, without quoting it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true or false"
    names = {int: "a whole number", NumberLiteral: "a number with a fraction", str: "text", list: "a list"}
    return names.get(type(value), "an object")
