"""How commands speak: one place for tables, values, progress and JSON.

Put rendering here; what is rendered is computed by the floors below. Answers go to stdout, all else to stderr.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.redaction import escaped

_BAR_FROM = 80  # columns
_UNLIMITED = 100_000
_WHOLE_FROM = 10  # a second


def out() -> Console:
    """The console of answers; when not a terminal, no line is wrapped and nothing is cut."""
    return _console(is_stderr=False, is_terminal=sys.stdout.isatty())


def err() -> Console:
    """The console of progress, warnings and errors; log lines are not broken when they go to a file."""
    return _console(is_stderr=True, is_terminal=sys.stderr.isatty())


def _console(*, is_stderr: bool, is_terminal: bool) -> Console:
    return Console(
        stderr=is_stderr,
        width=None if is_terminal else _UNLIMITED,
        force_terminal=is_terminal,
        color_system=None if os.environ.get("NO_COLOR") or not is_terminal else "auto",
        highlight=False,
        emoji=False,
        soft_wrap=not is_terminal,
    )


def say(line: str) -> None:
    """A line on stderr: a note, a warning, an error; broken only on a terminal, and there between words."""
    err().print(escaped(line), markup=False)


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
def progress(*, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> Iterator[Tell]:
    """A bar on stderr, only on a terminal: what is done, how much of how much, its rate, the time left.

    What is told of another stage begins a new bar in its place; of an unknown total the bar only moves.
    """
    console = err()
    if quiet or not console.is_terminal:
        yield tell_nobody
        return
    is_wide = console.width >= _BAR_FROM  # a narrow terminal has no room for a bar, and nothing is to be cut
    drawn = [BarColumn(bar_width=None), TimeElapsedColumn()] if is_wide else []
    columns = (TextColumn("{task.description}"), *drawn, _Count(), _Left())
    with Progress(*columns, console=console, transient=True, expand=is_wide, get_time=clock) as shown:
        stage, task = "", TaskID(0)

        def tell(now: str, done: int, total: int) -> None:
            nonlocal stage, task
            if now != stage:
                for before in shown.task_ids:
                    shown.remove_task(before)
                stage, task = now, shown.add_task(escape(now), total=None)
            shown.update(task, completed=done, total=max(done, total) or None)

        yield tell


class _Count(ProgressColumn):
    """`37/135 5.6/s`: how much of how much, and the rate."""

    def render(self, task: Task) -> Text:
        """Nothing where neither is known."""
        if task.total is None:
            return Text("")
        rate = "" if not task.speed else f" {task.speed:,.{0 if task.speed >= _WHOLE_FROM else 1}f}/s"
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}{rate}")


class _Left(ProgressColumn):
    """`0:00:17 left`, as the rate so far has it."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Nothing where it is not known."""
        left = task.time_remaining
        return Text("" if left is None or task.finished else f"{timedelta(seconds=round(left))} left")
