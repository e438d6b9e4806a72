"""How commands speak: one place for tables, values, progress and JSON.

Put rendering here; what is rendered is computed by the floors below. Answers go to stdout, all else to stderr.
"""

import json
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from usage_pipeline.redaction import escaped


def out() -> Console:
    """The console of answers; when not a terminal it is wide, so that nothing is cut."""
    is_terminal = sys.stdout.isatty()
    return Console(width=None if is_terminal else 200, highlight=False, emoji=False, soft_wrap=not is_terminal)


def err() -> Console:
    """The console of progress, warnings and errors; log lines are not broken when they go to a file."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def text(value: Any) -> str:
    """A value as people read it: decimals without idle zeros, times to the second, control characters escaped."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        value = json.dumps(plain(value), ensure_ascii=False)
    return escaped(str(value))


def decimal_text(value: Decimal) -> str:
    """A decimal in plain digits without trailing zeros."""
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def money_text(amount: Decimal | None) -> str:
    """An amount to the cent, for overviews; exact amounts are the warehouse's."""
    return "" if amount is None else f"{amount:,.2f}"


def print_table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Collection[str] = ()
) -> None:
    """A table on stdout; numbers, and the columns named in `right`, to the right.

    Upstream text is data: markup in it is not obeyed.
    """
    table = Table(title=title, title_justify="left", header_style="bold")
    body = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = column in right or any(isinstance(row[index], int | Decimal | float) for row in body)
        table.add_column(escape(text(column)), justify="right" if numeric else "left", overflow="fold")
    for row in body:
        table.add_row(*(escape(text(value)) for value in row))
    out().print(table)


def print_json(value: Any) -> None:
    """JSON on stdout: decimals as text (exact), times in ISO 8601, what could steer a terminal as JSON's escapes."""
    for line in json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False).split("\n"):
        shown = line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        sys.stdout.write(shown + "\n")


def plain(value: Any) -> Any:
    """A value in JSON's own types: decimals, times and what JSON has no form for become text; NaN becomes null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


@contextmanager
def progress(label: str, total: int, *, quiet: bool = False) -> Iterator[Progress]:
    """A bar on stderr, only on a terminal; `advance(0)` its one task as work is done."""
    console = err()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )
    with bar:
        bar.add_task(label, total=total)
        yield bar
