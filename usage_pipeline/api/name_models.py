"""Validation of lists of names: the bytes of one page in, its objects as dims columns out, or one BadPayload.

Put what makes a body a valid page of a list here, derived from its row in name_lists.py; following pages is
name_reads.py's, the JSON itself models.py's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import unquote

from pydantic_core import SchemaValidator, ValidationError, core_schema

from usage_pipeline.api.columns import MAX_CURSOR_CHARS
from usage_pipeline.api.models import (
    FLAG,
    MOMENT,
    TEXT,
    field_of,
    first_problem,
    json_document,
    list_of,
)
from usage_pipeline.errors import BadPayload
from usage_pipeline.name_lists import LIST_OBJECT, LISTS, FieldKind, NameField, NameList
from usage_pipeline.records import ListedName, RawPage
from usage_pipeline.windows import utc_moment

_ID = core_schema.str_schema(strict=True, min_length=1, max_length=MAX_CURSOR_CHARS)
_SCHEMAS: Mapping[FieldKind, core_schema.CoreSchema] = {
    "text": TEXT,
    "moment": MOMENT,
    "flag": FLAG,
    "cents": core_schema.int_schema(strict=True, ge=0, le=10**17),
    "json": core_schema.any_schema(),
}
# How a value of a kind is stored, where that is not how it came.
_STORED: Mapping[FieldKind, Callable[[Any], Any]] = {
    "moment": utc_moment,
    "cents": lambda value: Decimal(value).scaleb(-2),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NamePage:
    """One validated page of a list; `after` is the id the next page comes after, None at the end."""

    items: list[dict[str, Any]]
    has_more: bool
    after: str | None


def parse_name_page(names: NameList, body: bytes, *, where: str) -> NamePage:
    """The page in a body; `object` is checked and left out, an optional field may be absent or null alike.

    A single object is a page of its own.

    Raises:
        NotJson: the body is not JSON.
        BadPayload: it is JSON, and not a page of this list.
    """
    document = json_document(body, where)
    try:
        found = _validator(names.name).validate_python(document)
    except ValidationError as wrong:
        problem = first_problem(wrong)
    else:
        page: dict[str, Any] = {"data": [found], "has_more": False} if names.is_single else found
        for item in page["data"]:
            del item["object"]
        last = page["data"][-1]["id"] if page["has_more"] and page["data"] else None
        after = (page.get("last_id") or last) if page["has_more"] else None
        return NamePage(items=page["data"], has_more=page["has_more"], after=after)
    raise BadPayload(f"{where}: {problem}; nothing of this read was kept. If it persists, the API has changed.")


def listed_names(names: NameList, pages: Sequence[RawPage], *, where: str) -> tuple[list[ListedName], tuple[str, ...]]:
    """The objects of a list's pages, each id once (the last one read counts), and what the row does not know.

    Raises:
        BadPayload: a body is not a page of this list.
    """
    found: dict[str, ListedName] = {}
    drift: dict[str, None] = {}
    for raw in pages:
        project = names.project_in(raw.request)
        for item in parse_name_page(names, raw.body, where=where).items:
            drift.update(dict.fromkeys(_new_values(names.label, names.fields, item)))
            extras = dict(_unknown(names.fields, item))
            drift.update(dict.fromkeys(f"{names.label}: unknown field {name!r}, kept in extras" for name in extras))
            one = _listed(names, item, unquote(project) if project else None, extras)
            found[one.id] = one
    return list(found.values()), tuple(drift)


def _listed(names: NameList, item: dict[str, Any], project: str | None, extras: dict[str, Any]) -> ListedName:
    kinds = {field.name: field.kind for field in names.fields}
    columns: dict[str, Any] = {"project_id": project} if names.is_per_project and not names.is_single else {}
    for column, paths in names.columns.items():
        value = next((v for path in paths if (v := _at(item, path)) is not None), None)
        stored = _STORED.get(kinds.get(paths[0], "json"))
        columns[column] = stored(value) if stored is not None and value is not None else value
    return ListedName(id=names.id_of(item, project), columns=columns, extras=extras)


def _at(item: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where any part of it is absent or null."""
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _unknown(fields: Sequence[NameField], item: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields the row does not have, nested ones by their dotted path."""
    known = {field.name: field for field in fields}
    for name, value in item.items():
        if name not in known:
            yield prefix + name, value
        elif known[name].kind == "object" and value is not None:
            yield from _unknown(known[name].fields, value, f"{prefix}{name}.")


def _new_values(where: str, fields: Sequence[NameField], item: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each value outside those the row knows."""
    for field in fields:
        value = item.get(field.name)
        if field.kind == "object" and value is not None:
            yield from _new_values(f"{where}.{field.name}", field.fields, value)
        elif field.known_values and value is not None and value not in field.known_values:
            yield f"{where}.{field.name}: new value {value!r}"


@cache
def _validator(name: str) -> SchemaValidator:
    """Validates pages of a list: unknown fields of an object stay, those of the page go."""
    names = LISTS[name]
    kind = {"object": field_of(core_schema.literal_schema([names.object]))}
    if names.is_single:
        return SchemaValidator(_object(names.fields, kind))
    item = _object(names.fields, {**kind, "id": field_of(_ID)})
    page = {
        "object": field_of(core_schema.literal_schema([LIST_OBJECT])),
        "data": field_of(list_of(item)),
        "first_id": field_of(TEXT, is_required=False),
        "last_id": field_of(core_schema.str_schema(strict=True, max_length=MAX_CURSOR_CHARS), is_required=False),
        "has_more": field_of(FLAG),
    }
    return SchemaValidator(core_schema.typed_dict_schema(page, strict=True))


def _object(
    fields: Sequence[NameField], special: Mapping[str, core_schema.TypedDictField]
) -> core_schema.TypedDictSchema:
    """An object of these fields; `special` ones are checked more closely."""
    inner = {
        field.name: field_of(
            _object(field.fields, {}) if field.kind == "object" else _SCHEMAS[field.kind],
            is_required=field.is_required,
        )
        for field in fields
    }
    return core_schema.typed_dict_schema({**inner, **special}, strict=True, extra_behavior="allow")
