"""The `sql` command."""

import csv
import json
import sys
from decimal import Decimal
from typing import Any

from usage_pipeline.cli.console import decimal_text, plain, print_json, text
from usage_pipeline.cli.tables import print_table
from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.query import ask
from usage_pipeline.settings import Settings


def run_sql(query: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Answer a query from the published file as a table, JSON or CSV; without one, ask for them at a prompt."""
    if as_json and as_csv:
        raise FixConfig("--json and --csv exclude each other: choose one.")
    settings = Settings.from_env()
    if query is None and sys.stdin.isatty():
        from usage_pipeline.cli.prompt import run_prompt

        run_prompt(settings)
        return
    query = sys.stdin.read() if query in (None, "-") else query
    with ask(settings.warehouse_path, settings.lake_dir, query) as answer:
        if as_json:
            print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        elif as_csv:
            cell = text if sys.stdout.isatty() else _cell  # exact for programs, harmless for terminals
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow([cell(column) for column in answer.columns])
            for row in answer.rows:
                writer.writerow([cell(value) for value in row])
        else:
            print_table(None, answer.columns, answer.rows)


def _cell(value: Any) -> Any:
    """A value in CSV: as it is where CSV has a form for it, nested ones as JSON."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(plain(value), ensure_ascii=False) if isinstance(value, list | tuple | dict) else value
