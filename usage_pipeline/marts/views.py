"""Plain views of the published file: other cuts of a mart, computed by whoever reads them.

Put views that add no row and no number here; what is computed and kept is a mart's file.
"""

from dataclasses import replace

import pyarrow as pa

from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.engine import identifier, sql_type
from usage_pipeline.lake.schemas import MONEY, TIME
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.marts.derived_names import names_relation
from usage_pipeline.marts.focus_columns import (
    COLUMNS,
    EXTRA_COLUMNS,
    VERSIONS,
    FocusColumn,
    Kind,
    Version,
    columns_of,
)
from usage_pipeline.name_lists import NAME_LISTS, NameList

BLANK_VIEW = "derived.focus_blank"

_TYPES: dict[Kind, pa.DataType] = {"text": pa.string(), "json": pa.string(), "decimal": MONEY, "time": TIME}


def focus_type(column: FocusColumn) -> str:
    """The SQL type a FOCUS column is stored as; times are UTC without a zone."""
    return sql_type(_TYPES[column.kind])


def blank_relation() -> Relation:
    """`derived.focus_blank`: one row of the FOCUS columns the service has nothing for, each of its type."""
    nulls = ", ".join(f"null::{focus_type(c)} as {identifier(c.name)}" for c in COLUMNS if not c.is_given)
    return Relation(schema="derived", name="focus_blank", sql=f"select {nulls}", comment="FOCUS columns without data.")


def focus_view_name(version: Version) -> str:
    """The published view of a version of FOCUS."""
    return f"focus_{version.replace('.', '_')}"


def view_relations() -> list[Relation]:
    """The views the published file has beside its tables; they read them, so they come after them."""
    return [*(_focus_view(version) for version in VERSIONS), *map(_names_view, NAME_LISTS.values())]


def _names_view(names: NameList) -> Relation:
    """`dims.project_names` and its like: readers join the name of the day as the marts do."""
    shown = {"organization", "project_id", *names.columns}
    of_list = {column: text for column, _, text in DIMS[names.name].columns if column in shown}
    comments = {
        "id": "The id usage and costs carry.",
        "name": "Its name on the days from from_date to before until_date.",
        "is_deleted": "Whether the last complete list lacked it.",
        "from_date": "First UTC day on which the name counts.",
        "until_date": "First UTC day on which it no longer counts.",
    }
    return replace(names_relation(names), schema="dims", column_comments=of_list | comments)


def _focus_view(version: Version) -> Relation:
    columns = columns_of(version)
    names = ", ".join(identifier(name) for name in (*(c.name for c in columns), *EXTRA_COLUMNS))
    comments = {c.name: f"FOCUS {version}: {c.level}, {c.kind}." for c in columns}
    return Relation(
        schema="marts",
        name=focus_view_name(version),
        sql=f"select {names} from marts.focus",  # noqa: S608 - own names
        comment=f"marts.focus with the columns of FOCUS {version}, then our own x_ columns.",
        column_comments=comments | EXTRA_COLUMNS,
    )
