"""The second table: the lists that give names to the ids in usage and costs, and the spend limits, one row per list.

Put facts of these lists here (paths, fields, parameters, which dims column a field fills) and nothing that acts on
them; requests, validation, the served answers, the dims tables' content, sync rows and assets are derived.
Source: openai Python package 3.54.0 (2026-11-17), as endpoints.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from usage_pipeline.endpoints import PageLimit

FieldKind = Literal["text", "moment", "flag", "cents", "object", "json"]

LIST_OBJECT = "list"
NAME_PAGES = PageLimit(default=20, maximum=100)  # objects a page holds
ORGANIZATION_ID = "organization"  # the id of what the whole organization has one of
_PROJECT_SLOT = "{project_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NameField:
    """A field of a listed object; `json` is a value that is known and not looked into, `moment` unix seconds.

    `cents` are whole hundredths of a currency.
    """

    name: str
    kind: FieldKind = "text"
    is_required: bool = False
    known_values: tuple[str, ...] = ()
    fields: tuple["NameField", ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NameList:
    """One row: a list of the service, and the dims table of the same name that its objects fill.

    `columns` maps a column to the fields it may come from (dotted where nested), the first that is not null counts.
    `parameters` are always sent: without them the service leaves objects out. `since` is the column that says when an
    object began. `is_never_empty`: an organization has at least one, so an empty list is a fault, not news.
    `is_single`: the path answers one object instead of pages, and 404 where there is none.
    """

    name: str
    path: str
    object: str
    singular: str
    fields: tuple[NameField, ...]
    columns: Mapping[str, tuple[str, ...]]
    since: str = "created_at"
    parameters: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    is_never_empty: bool = False
    is_single: bool = False

    @property
    def label(self) -> str:
        """What people know it by: its table."""
        return f"dims.{self.name}"

    @property
    def is_per_project(self) -> bool:
        """Whether the service has one such list for each project."""
        return _PROJECT_SLOT in self.path

    def path_for(self, project_id: str | None) -> str:
        """The path of the list (of one project)."""
        return self.path.replace(_PROJECT_SLOT, project_id or "")

    def id_of(self, item: Mapping[str, Any], project_id: str | None) -> str:
        """What identifies an object: its own id, or of a single one that of what it belongs to."""
        return (project_id or ORGANIZATION_ID) if self.is_single else str(item["id"])

    def project_in(self, request: str) -> str | None:
        """The project (as the path has it) a request was about; None for lists of the whole organization."""
        pattern = re.escape(self.path).replace(re.escape(_PROJECT_SLOT), "([^/?]+)")
        found = re.search(pattern, request) if self.is_per_project else None
        return found[1] if found else None


def _text(name: str, *, is_required: bool = False, known: tuple[str, ...] = ()) -> NameField:
    return NameField(name=name, is_required=is_required, known_values=known)


def _moment(name: str, *, is_required: bool = False) -> NameField:
    return NameField(name=name, kind="moment", is_required=is_required)


def _other(kind: FieldKind, *names: str) -> tuple[NameField, ...]:
    return tuple(NameField(name=name, kind=kind) for name in names)


_ID = _text("id", is_required=True)
_NAME = _text("name", is_required=True)
_CREATED = _moment("created_at", is_required=True)
_REDACTED = _text("redacted_value", is_required=True)
_ROLE = _text("role", is_required=True)
_MEMBER_FIELDS = (_ID, _CREATED, _NAME, _ROLE)


def _owner(*fields: NameField) -> NameField:
    return NameField(name="owner", kind="object", is_required=True, fields=fields)


_ROWS = (
    NameList(
        name="projects",
        path="/organization/projects",
        object="organization.project",
        singular="project",
        fields=(
            _ID,
            _CREATED,
            _moment("archived_at"),
            _text("external_key_id"),
            _text("name"),
            *_other("json", "residency"),
            _text("status", known=("active", "archived")),
        ),
        columns={
            "name": ("name",),
            "created_at": ("created_at",),
            "archived_at": ("archived_at",),
            "status": ("status",),
        },
        parameters={"include_archived": "true"},
        choices={"include_archived": ("true", "false")},
        is_never_empty=True,
    ),
    NameList(
        name="users",
        path="/organization/users",
        object="organization.user",
        singular="user",
        fields=(
            _ID,
            _moment("added_at", is_required=True),
            _moment("api_key_last_used_at"),
            _moment("created"),
            _text("developer_persona"),
            _text("email"),
            *_other(
                "flag", "is_default", "is_scale_tier_authorized_purchaser", "is_scim_managed", "is_service_account"
            ),
            _text("name"),
            *_other("json", "projects"),
            _text("role", known=("owner", "reader")),
            _text("technical_level"),
            *_other("json", "user"),
        ),
        columns={"name": ("name",), "email": ("email",), "role": ("role",), "added_at": ("added_at",)},
        since="added_at",
        filters=("emails",),
        is_never_empty=True,
    ),
    NameList(
        name="api_keys",
        path=f"/organization/projects/{_PROJECT_SLOT}/api_keys",
        object="organization.project.api_key",
        singular="api_key",
        fields=(
            _ID,
            _CREATED,
            _moment("last_used_at"),
            _NAME,
            _owner(
                NameField(name="service_account", kind="object", fields=_MEMBER_FIELDS),
                _text("type", known=("user", "service_account")),
                NameField(name="user", kind="object", fields=(*_MEMBER_FIELDS, _text("email", is_required=True))),
            ),
            _text("owner_project_access", is_required=True, known=("active", "inactive")),
            _REDACTED,
            _moment("expires_at"),
        ),
        columns={
            "name": ("name",),
            "created_at": ("created_at",),
            "owner_type": ("owner.type",),
            "owner_id": ("owner.user.id", "owner.service_account.id"),
        },
        parameters={"owner_project_access": "any"},
        choices={"owner_project_access": ("active", "inactive", "any")},
    ),
    NameList(
        name="service_accounts",
        path=f"/organization/projects/{_PROJECT_SLOT}/service_accounts",
        object="organization.project.service_account",
        singular="service_account",
        fields=(_ID, _CREATED, _NAME, _text("role", is_required=True, known=("owner", "member", "none"))),
        columns={"name": ("name",), "created_at": ("created_at",), "role": ("role",)},
    ),
    NameList(
        name="admin_keys",
        path="/organization/admin_api_keys",
        object="organization.admin_api_key",
        singular="admin_key",
        fields=(
            _ID,
            _CREATED,
            _moment("expires_at"),
            _owner(_text("id"), _moment("created_at"), _text("name"), *_other("text", "object", "role", "type")),
            _REDACTED,
            _moment("last_used_at"),
            _text("name"),
        ),
        columns={
            "name": ("name",),
            "created_at": ("created_at",),
            "owner_type": ("owner.type",),
            "owner_id": ("owner.id",),
        },
        choices={"order": ("asc", "desc")},
    ),
)

# Of the package: types/admin/organization/organization_spend_limit.py and projects/project_spend_limit.py, where
# threshold_amount is "the hard spend limit amount, in cents". What is answered where none is set they do not say; 404
# is what every other object that is not there gets.
_LIMIT_FIELDS = (
    NameField(name="threshold_amount", kind="cents", is_required=True),
    _text("currency", is_required=True, known=("USD",)),
    _text("interval", is_required=True, known=("month",)),
    NameField(
        name="enforcement",
        kind="object",
        is_required=True,
        fields=(_text("status", is_required=True, known=("inactive", "enforcing")),),
    ),
)
_LIMIT_COLUMNS = {
    "amount": ("threshold_amount",),
    "currency": ("currency",),
    "interval": ("interval",),
    "enforcement": ("enforcement.status",),
}
_LIMITS = (
    NameList(
        name="organization_spend_limits",
        path="/organization/spend_limit",
        object="organization.spend_limit",
        singular="organization_spend_limit",
        fields=_LIMIT_FIELDS,
        columns=_LIMIT_COLUMNS,
        is_single=True,
    ),
    NameList(
        name="project_spend_limits",
        path=f"/organization/projects/{_PROJECT_SLOT}/spend_limit",
        object="project.spend_limit",
        singular="project_spend_limit",
        fields=_LIMIT_FIELDS,
        columns=_LIMIT_COLUMNS,
        is_single=True,
    ),
)

NAME_LISTS: dict[str, NameList] = {row.name: row for row in _ROWS}
SPEND_LIMITS: dict[str, NameList] = {row.name: row for row in _LIMITS}
LISTS: dict[str, NameList] = {**NAME_LISTS, **SPEND_LIMITS}
