"""How tables are shown in Dagster's catalogue.

Put table schemas as Dagster metadata here; the columns themselves come from lake/schemas.py and the marts' queries.
"""

import dagster as dg
import pyarrow as pa

from usage_pipeline.endpoints import Endpoint
from usage_pipeline.lake.engine import sql_type
from usage_pipeline.lake.schemas import PART, columns
from usage_pipeline.marts.build import mart_schema
from usage_pipeline.marts.column_texts import column_texts


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


def _column(name: str, kind: pa.DataType, description: str) -> dg.TableColumn:
    return dg.TableColumn(name=name, type=sql_type(kind), description=description)
