"""Dimension tables: their columns, and replacing one whole when its content changed.

Put schemas and storage of `dims.*` here; where names and prices come from is the business of those who call it.
"""

from dataclasses import dataclass

import pyarrow as pa

from usage_pipeline.lake.engine import session
from usage_pipeline.lake.hashes import content_hash
from usage_pipeline.lake.schemas import MONEY, TIME
from usage_pipeline.lake.store import Lake

# Columns that say when something was looked at, not what it is: marts need not be computed again when they change.
_SIGHTINGS = {"last_seen"}

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

PRICES = Dim(
    name="prices",
    description="List prices: per model, meter, tier and batch, with the days they hold.",
    grain=("source", "model", "meter", "service_tier", "is_batch", "valid_from"),
    columns=(
        ("source", pa.string(), "override (data/prices.csv) or the price book's name and version."),
        ("model", pa.string(), "Model name as usage rows carry it, or the price book's name of it."),
        ("match", pa.string(), "How model matches: equals, starts_with, ends_with, contains or regex."),
        ("meter", pa.string(), "What is counted: a token measure, requests, images, characters, seconds ..."),
        ("service_tier", pa.string(), "Service tier the price is for; null: any that has none of its own."),
        ("is_batch", pa.bool_(), "Whether the price is the Batch API's."),
        ("valid_from", pa.date32(), "First day the price holds; null: always."),
        ("valid_to", pa.date32(), "Day before which it holds; null: until further notice."),
        ("unit_quantity", pa.int64(), "How many of the meter's units the price is for (1000000 tokens)."),
        ("price", MONEY, "Price of unit_quantity units."),
        ("currency", pa.string(), "Currency of the price."),
        ("has_threshold", pa.bool_(), "Whether dearer rates exist above a size per request; this is the base rate."),
        ("priority", pa.int64(), "Of several matching rows the lowest counts."),
    ),
)

DIMS: dict[str, Dim] = {dim.name: dim for dim in (*NAMES, PRICES)}


def read_dim(lake: Lake, dim: Dim) -> pa.Table:
    """Every stored row of a dimension."""
    table = lake.table("dims", dim.name, dim.schema)
    with session() as con:
        rows: pa.Table = con.sql(table.scan(table.open())).to_arrow_table()
    return rows


def replace_dim(lake: Lake, dim: Dim, rows: pa.Table) -> bool:
    """Make the dimension hold exactly these rows, in one commit; False where it already does."""
    ordered = rows.select(dim.schema.names).cast(dim.schema).sort_by([(name, "ascending") for name in dim.grain])
    held = read_dim(lake, dim).sort_by([(name, "ascending") for name in dim.grain])
    if content_hash(held) == content_hash(ordered):
        return False
    lake.table("dims", dim.name, dim.schema).overwrite(ordered)
    return True


def dim_hash(rows: pa.Table) -> str:
    """What marts depend on: the rows without when they were last looked at."""
    kept = [name for name in rows.column_names if name not in _SIGHTINGS]
    return content_hash(rows.select(kept))
