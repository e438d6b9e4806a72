"""The prompt of `usage-pipeline sql`: one question after the other, with completion of tables and columns.

Put the dialogue here; one answer to a program is sql.py's. Every question opens the published file anew, so that what a
sync publishes meanwhile is seen.
"""

import readline
from collections.abc import Iterator
from itertools import islice

from usage_pipeline.cli.console import err, say
from usage_pipeline.cli.tables import print_table
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.lake.query import ask
from usage_pipeline.settings import Settings

_ROWS = 200
_LEAVING = (".quit", ".exit", "quit", "exit")
_HELP = (
    "`.tables` lists what can be asked, `describe marts.cost_daily;` the columns of one; Tab completes names; a query "
    "ends with a semicolon or an empty line; `.quit` leaves."
)
_TABLES = """
select schema_name || '.' || view_name as "table", comment as what from duckdb_views() where not internal order by all
"""
_NAMES = """
select schema_name || '.' || view_name from duckdb_views() where not internal
union select column_name from duckdb_columns() where not internal
union select function_name from duckdb_functions() where not internal
order by all
"""
_KEYWORDS = ("select", "from", "where", "group by all", "order by", "limit", "describe", "summarize")


def run_prompt(settings: Settings) -> None:
    """Answer queries until the end of input or `.quit`; one ends with a semicolon or an empty line.

    Raises:
        FixConfig: nothing is published yet.
    """
    words = [*_KEYWORDS, *_names(settings)]
    readline.set_completer_delims(" \t\n(),;=<>+-*/'\"")
    readline.set_completer(_Completer(words))
    readline.parse_and_bind("tab: complete")
    say("A query ends with a semicolon; Tab completes names, `.help` helps, `.quit` or Ctrl-D leaves.")
    for query in _queries():
        try:
            with ask(settings.warehouse_path, settings.lake_dir, query) as answer:
                shown = list(islice(answer.rows, _ROWS + 1))
                print_table(None, answer.columns, shown[:_ROWS])
                if len(shown) > _ROWS:
                    say(f'... the first {_ROWS} rows; `usage-pipeline sql "..." --csv` has all.')
        except UsagePipelineError as wrong:
            say(" ".join(str(wrong).split()))


def _names(settings: Settings) -> list[str]:
    with ask(settings.warehouse_path, settings.lake_dir, _NAMES) as answer:
        return [str(name) for (name,) in answer.rows]


def _queries() -> Iterator[str]:
    lines: list[str] = []
    while True:
        try:
            line = input("...> " if lines else "sql> ")
        except EOFError:
            return
        except KeyboardInterrupt:  # the line is given up, not the prompt
            lines = []
            err().print()
            continue
        if line.strip().removesuffix(";") in _LEAVING:
            return
        if not lines and line.lstrip().startswith("."):  # as in other clients, where no semicolon ends such a line
            if line.strip() == ".tables":
                yield _TABLES
            else:
                say(_HELP)
            continue
        lines.append(line)
        whole = "\n".join(lines).strip()
        if not whole:
            lines = []
        elif whole.endswith(";") or not line.strip():
            lines = []
            yield whole


class _Completer:
    """What readline asks for: the n-th word that goes on from a text."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def __call__(self, start: str, number: int) -> str | None:
        """The word, or None where there are no more."""
        fitting = (word for word in self._words if word.lower().startswith(start.lower()))
        return next(islice(fitting, number, None), None)
