"""Polars: `scan_delta` of each table, asked in its SQL."""

import polars

from usage_pipeline_tests.engines.attached.task import answer, given

task = given()
context = polars.SQLContext({table.name: polars.scan_delta(table.folder) for table in task.tables})
answer(task, polars.__version__, lambda statement: context.execute(statement, eager=True).to_arrow())
