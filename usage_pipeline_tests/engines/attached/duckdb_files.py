"""DuckDB: the files of the newest version, by name; partition columns from the folder names."""

import duckdb

from usage_pipeline_tests.engines.attached.task import answer, given

task = given()
con = duckdb.connect()
con.execute("set timezone = 'UTC'")
for table in task.tables:
    files = ", ".join(f"'{file}'" for file in table.files)
    con.execute(
        f"create view {table.name} as from read_parquet([{files}], union_by_name = true, "
        "hive_partitioning = true, hive_types_autocast = false)"
    )
answer(task, duckdb.__version__, lambda statement: con.sql(statement).to_arrow_table())
