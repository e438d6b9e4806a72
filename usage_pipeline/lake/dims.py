"""Dimension tables: their columns, and replacing one whole when its content changed.

Put schemas and storage of `dims.*` here; where names and prices come from is the business of those who call it.
"""

from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.lake.delta_table import CommitConflict
from usage_pipeline.lake.engine import session
from usage_pipeline.lake.hashes import content_hash
from usage_pipeline.lake.schemas import MONEY, TIME
from usage_pipeline.lake.store import Lake

# Columns that say when something was looked at, not what it is: marts need not be computed again when they change.
SIGHTINGS = {"last_seen"}

Column = tuple[str, pa.DataType, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dim:
    """One dimension table: what it is, what identifies a row, and its columns with their meaning."""

    name: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The stored schema."""
        return pa.schema([(name, kind) for name, kind, _ in self.columns])


_HISTORY: tuple[Column, ...] = (
    ("valid_from", TIME, "From when this version (name and attributes) holds, UTC, inclusive."),
    ("valid_to", TIME, "Until when it held, UTC, exclusive; null for the last one, also of what was deleted."),
    ("first_seen", TIME, "When a list first had this id, UTC."),
    ("last_seen", TIME, "When a list last had this id, UTC."),
    ("deleted_at", TIME, "When a complete list first lacked this id, UTC; null while it is there."),
    ("extras", pa.string(), "Fields the pipeline does not know, as JSON text."),
)


def _named(name: str, description: str, *attributes: Column) -> Dim:
    columns: tuple[Column, ...] = (
        ("organization", pa.string(), "Label of the organization."),
        ("id", pa.string(), "The id usage and costs carry."),
        ("name", pa.string(), "Its name; the last one where it was deleted."),
        *attributes,
        *_HISTORY,
    )
    return Dim(name=name, description=description, grain=("organization", "id", "valid_from"), columns=columns)


_CREATED: Column = ("created_at", TIME, "When it was created, UTC.")
_PROJECT: Column = ("project_id", pa.string(), "The project it belongs to.")
_OWNER: tuple[Column, ...] = (
    ("owner_type", pa.string(), "user or service_account."),
    ("owner_id", pa.string(), "Id of the user or service account that owns it."),
)

NAMES = (
    _named(
        "projects",
        "Projects, each version of their names.",
        _CREATED,
        ("archived_at", TIME, "When it was archived, UTC."),
        ("status", pa.string(), "active or archived."),
    ),
    _named(
        "users",
        "Users, each version of their names.",
        ("email", pa.string(), "Email address."),
        ("role", pa.string(), "owner or reader."),
        ("added_at", TIME, "When the user was added, UTC."),
    ),
    _named("api_keys", "Project API keys, each version of their names.", _PROJECT, _CREATED, *_OWNER),
    _named(
        "service_accounts",
        "Service accounts, each version of their names.",
        _PROJECT,
        _CREATED,
        ("role", pa.string(), "owner, member or none."),
    ),
    _named("admin_keys", "Admin API keys, each version of their names.", _CREATED, *_OWNER),
)


def _limits(name: str, description: str, identity: str) -> Dim:
    columns: tuple[Column, ...] = (
        ("organization", pa.string(), "Label of the organization."),
        ("id", pa.string(), identity),
        ("amount", MONEY, "What the service lets be spent."),
        ("currency", pa.string(), "Currency of the amount, as the service writes it."),
        ("interval", pa.string(), "What the amount is for: month."),
        ("enforcement", pa.string(), "inactive, or enforcing where the limit stops requests."),
        *_HISTORY,
    )
    return Dim(name=name, description=description, grain=("organization", "id", "valid_from"), columns=columns)


LIMITS = (
    _limits(
        "organization_spend_limits", "The organization's spend limit, each version of it.", "Always `organization`."
    ),
    _limits("project_spend_limits", "Spend limits of projects, each version of them.", "Id of the project."),
)
LISTED = (*NAMES, *LIMITS)  # what the service's lists fill

PRICES = Dim(
    name="prices",
    description="Prices per rule for model names, meter, tier and batch, with the days they hold; overrides first.",
    grain=("priority", "meter", "service_tier", "is_batch", "valid_from"),
    columns=(
        ("source", pa.string(), "override (prices.csv in the data folder), or the price book's name and version."),
        ("is_override", pa.bool_(), "Whether the row is the user's own."),
        ("priority", pa.int64(), "The rule's place: the rule with the lowest number that fits a model name counts."),
        ("model", pa.string(), "What the source calls the model."),
        ("match", pa.string(), "How a name fits: equals, starts_with, ends_with, contains, regex; no_model: no name."),
        ("pattern", pa.string(), "What a model name, in lower case, is compared with."),
        ("meter", pa.string(), "What is counted, in the words of marts.usage_priced."),
        ("service_tier", pa.string(), "Service tier the price is for; null: any that has none of its own."),
        ("is_batch", pa.bool_(), "Whether the price is the Batch API's; null: both, where it has none of its own."),
        ("valid_from", pa.date32(), "First day the price holds; null: always."),
        ("valid_to", pa.date32(), "Day before which it holds; null: until further notice."),
        ("price", MONEY, "Price of `per` units; where rates depend on a request's size, the base rate."),
        ("per", pa.int64(), "How many of the meter's units the price is for (1000000 tokens)."),
        ("currency", pa.string(), "Currency of the price, in lower case."),
        ("has_threshold", pa.bool_(), "Whether dearer rates exist above a size per request."),
    ),
)

BUDGETS = Dim(
    name="budgets",
    description="What a month may cost, for the whole organization or a project: data/budgets.csv and spend limits.",
    grain=("organization", "project_id", "month", "currency"),
    columns=(
        ("organization", pa.string(), "Label of the organization."),
        ("project_id", pa.string(), "The project; null: the whole organization."),
        ("month", pa.date32(), "First day of the month it is for; null: every month that has none of its own."),
        ("currency", pa.string(), "Currency of the amount, in lower case as the service writes it."),
        ("amount", MONEY, "What the month may cost."),
        ("source", pa.string(), "budgets.csv, or spend_limit: the service's, where the file has no line for the same."),
    ),
)

TAGS = Dim(
    name="tags",
    description="Chargeback tags of data/tags.csv: the team and cost centre of projects, keys and users, with days.",
    grain=("line",),
    columns=(
        ("line", pa.int64(), "Line of the file; of two that fit equally well the first counts."),
        ("kind", pa.string(), "project, api_key or user."),
        ("match", pa.string(), "Id or name, or a pattern in which * stands for any text."),
        ("pattern", pa.string(), "The pattern as `like ... escape '\\'` takes it; null where match is exact."),
        ("team", pa.string(), "Team."),
        ("cost_center", pa.string(), "Cost centre."),
        ("valid_from", pa.date32(), "First day the tag holds; null: always."),
        ("valid_to", pa.date32(), "Day before which it holds; null: until further notice."),
    ),
)

DIMS: dict[str, Dim] = {dim.name: dim for dim in (*LISTED, PRICES, BUDGETS, TAGS)}


def read_dim(lake: Lake, dim: Dim) -> pa.Table:
    """Every stored row of a dimension."""
    return hold_dim(lake, dim).rows


@dataclass(frozen=True, slots=True)
class HeldDim:
    """A dimension as it was read: what is made of its rows replaces that version, or nothing."""

    at: DeltaTable | None
    rows: pa.Table


def hold_dim(lake: Lake, dim: Dim) -> HeldDim:
    """Every stored row of a dimension, and the version that has them."""
    table = lake.table("dims", dim.name, dim.schema)
    at = table.open()
    with session() as con:
        return HeldDim(at, con.sql(table.scan(at)).to_arrow_table())


def replace_dim(lake: Lake, dim: Dim, rows: pa.Table, upon: HeldDim | None = None) -> bool:
    """Make the dimension hold exactly these rows, in one commit; False where it already does.

    `upon` is what the rows were made of; without it they stand for themselves.

    Raises:
        CommitConflict: another host replaced it since it was read; nothing was written.
    """
    table = lake.table("dims", dim.name, dim.schema)
    ordered = rows.select(dim.schema.names).cast(dim.schema).sort_by([(name, "ascending") for name in dim.grain])
    held = upon or hold_dim(lake, dim)
    if content_hash(held.rows.sort_by([(name, "ascending") for name in dim.grain])) == content_hash(ordered):
        return False
    newest = table.create()  # refuses what may not be written to
    if held.at is None and newest.version() > 0:
        raise CommitConflict(f"dims.{dim.name}: another host was the first to write it")
    table.overwrite(ordered, held.at or newest)
    return True


def dim_hash(rows: pa.Table) -> str:
    """What marts depend on: the rows without when they were last looked at."""
    kept = [name for name in rows.column_names if name not in SIGHTINGS]
    return content_hash(rows.select(kept))
