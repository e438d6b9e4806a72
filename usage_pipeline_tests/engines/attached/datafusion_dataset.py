"""DataFusion: Delta tables as datasets of Arrow, as `deltalake` makes them."""

import datafusion
import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline_tests.engines.attached.task import answer, given

task = given()
context = datafusion.SessionContext()
for table in task.tables:
    context.register_dataset(table.name, DeltaTable(table.folder).to_pyarrow_dataset())
answer(task, datafusion.__version__, lambda statement: pa.table(context.sql(statement)))
