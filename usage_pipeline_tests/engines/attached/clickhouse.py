"""ClickHouse within the process (chdb): `deltaLakeLocal` of each table."""

import os

import pyarrow as pa
from chdb.session import Session

from usage_pipeline_tests.engines.attached.task import answer, given

_SETTINGS = {
    "session_timezone": "'UTC'",  # before any table is named: times without a zone get that of the session
    "join_use_nulls": "1",  # as SQL has it: nulls where a left join finds nothing
    "prefer_column_name_to_alias": "1",  # `sum(amount) as amount` is the sum of the column
    "output_format_arrow_string_as_string": "1",
}

task = given()
os.chdir(os.path.commonpath([table.folder for table in task.tables]))  # it reads below the working folder alone
session = Session()
session.query("set " + ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items()))
for table in task.tables:
    session.query(f"create view {table.name} as select * from deltaLakeLocal('{table.folder}')")


def ask(statement: str) -> pa.Table:
    """The statement's answer."""
    found = session.query(statement, "Arrow")
    return pa.ipc.open_file(pa.BufferReader(found.bytes())).read_all()


version = session.query("select version()", "TabSeparated").data().strip()
answer(task, version, ask)
