"""DataFusion as delta-rs brings it: `deltalake.QueryBuilder`, over the Delta tables."""

import deltalake
import pyarrow as pa

from usage_pipeline_tests.engines.attached.task import answer, given

task = given()
builder = deltalake.QueryBuilder()
for table in task.tables:
    builder = builder.register(table.name, deltalake.DeltaTable(table.folder))
answer(task, deltalake.__version__, lambda statement: pa.table(builder.execute(statement).read_all()))
