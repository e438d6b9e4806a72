"""The served side of the lists of names: what a request may say, and the page it is answered with.

Put what the service accepts and refuses of these lists here, derived from their rows; where the objects come from is
a `NameSource`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from usage_pipeline.api.query import Parameters, listed, scalar, whole
from usage_pipeline.api.refusals import refusal, unsupported_value
from usage_pipeline.name_lists import LIST_OBJECT, NAME_PAGES, NameList

Item = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NameQuery:
    """One validated request: `choices` are the parameters with closed lists, `filters` those that name values."""

    limit: int
    after: str | None
    choices: Mapping[str, str]
    filters: Mapping[str, frozenset[str]]


class NameSource(Protocol):
    """Where the objects of the lists come from. The server asks it; it knows nothing of HTTP, pages or limits."""

    def now(self) -> datetime:
        """The source's present time, UTC."""

    def names(self, names: NameList, project_id: str | None) -> Sequence[Item] | None:
        """Every object of a list as it is now, in the list's order, without `object`; None: no such project."""


def parse_name_query(names: NameList, parameters: Parameters) -> NameQuery:
    """The request, checked against the list's row.

    Raises:
        Refusal: a parameter is unknown, or outside what the row allows.
    """
    known = {"limit", "after", *names.choices, *names.filters, *(f"{name}[]" for name in names.filters)}
    for name, _ in parameters:
        if name not in known:
            raise refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    limit = whole(parameters, "limit", minimum=1)
    if limit is not None and limit > NAME_PAGES.maximum:
        raise refusal(
            "Invalid 'limit': integer above maximum value. "
            f"Expected a value <= {NAME_PAGES.maximum}, but got {limit} instead.",
            param="limit",
            code="integer_above_max_value",
        )
    choices = {}
    for name, allowed in names.choices.items():
        value = scalar(parameters, name)
        if value is not None and value not in allowed:
            raise unsupported_value(name, value, allowed)
        if value is not None:
            choices[name] = value
    return NameQuery(
        limit=NAME_PAGES.default if limit is None else limit,
        after=scalar(parameters, "after"),
        choices=choices,
        filters={name: frozenset(listed(parameters, name)) for name in names.filters},
    )


def list_answer(names: NameList, source: NameSource, project_id: str | None, query: NameQuery) -> dict[str, Any]:
    """The page of a list that comes after `after`.

    Raises:
        Refusal: there is no such project, or `after` is no object of the list.
    """
    found = source.names(names, project_id)
    if found is None:
        raise refusal(f"Project '{project_id}' not found.", param="project_id", code="not_found", status=404)
    items = [{"object": names.object, **item} for item in _kept(found, query)]
    if query.choices.get("order") == "desc":
        items.reverse()
    start = 0
    if query.after is not None:
        ids = [item["id"] for item in items]
        if query.after not in ids:
            raise refusal(f"No object found with id '{query.after}'.", param="after")
        start = ids.index(query.after) + 1
    page = items[start : start + query.limit]
    return {
        "object": LIST_OBJECT,
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + query.limit < len(items),
    }


def single_answer(
    names: NameList, source: NameSource, project_id: str | None, parameters: Parameters
) -> dict[str, Any]:
    """The one object of a path.

    Raises:
        Refusal: there is no such project, no such object, or a parameter was sent.
    """
    for name, _ in parameters:
        raise refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    found = source.names(names, project_id)
    if not found:
        missing = f"Project '{project_id}'" if found is None else "Spend limit"
        raise refusal(f"{missing} not found.", param=None, code="not_found", status=404)
    return {"object": names.object, **found[0]}


def _kept(items: Sequence[Item], query: NameQuery) -> list[Item]:
    """What the request lets through: what it does not ask for, the service leaves out."""
    asked = query.choices.get("owner_project_access", "active")
    access = {"active", "inactive"} if asked == "any" else {asked}
    wants_archived = query.choices.get("include_archived") == "true"
    emails = query.filters.get("emails")
    return [
        item
        for item in items
        if (wants_archived or item.get("archived_at") is None)
        and ("owner_project_access" not in item or item["owner_project_access"] in access)
        and (not emails or item.get("email") in emails)
    ]
