"""How tables are shown in Dagster's catalogue.

Put owners, table schemas and column lineage as Dagster metadata here; the columns themselves come from lake/schemas.py
and the marts' queries, their lineage from marts/lineage.py.
"""

import dagster as dg
import pyarrow as pa

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.lake.engine import sql_type
from usage_pipeline.lake.schemas import PART, columns
from usage_pipeline.marts.column_texts import column_texts
from usage_pipeline.marts.lineage import column_sources
from usage_pipeline.marts.tables import mart_schema
from usage_pipeline.name_lists import LISTS

COLUMN_LINEAGE = "dagster/column_lineage"  # the UI looks for it in what a step told
OWNERS = ["team:usage-pipeline"]  # who is to be asked, whichever table it is


def usage_columns(endpoint: Endpoint) -> dg.TableSchema:
    """An endpoint's columns with their descriptions."""
    return dg.TableSchema(columns=[_column(name, kind, text) for name, kind, text in columns(endpoint)])


def mart_columns(name: str) -> dg.TableSchema:
    """A mart's columns, as its query gives them, with their descriptions."""
    schema = mart_schema(name)
    texts = column_texts(schema.names)
    return dg.TableSchema(
        columns=[_column(field.name, field.type, texts[field.name]) for field in schema if field.name != PART]
    )


def mart_lineage(name: str) -> dg.TableColumnLineage:
    """What each of a mart's columns is made of, as far as that is an asset."""
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(asset_key=dg.AssetKey([schema, table]), column_name=of)
                for schema, table, of in (source.split(".") for source in sources)
                if schema != "dims" or table in LISTS
            ]
            for column, sources in column_sources(name).items()
        }
    )


def _column(name: str, kind: pa.DataType, description: str) -> dg.TableColumn:
    return dg.TableColumn(name=name, type=sql_type(kind), description=description)
