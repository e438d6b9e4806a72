"""How a table is laid out so that it fits: nothing is cut, no word and no number is broken.

Put the choice between layouts here; what values look like is console.py's. On a terminal, from wide to narrow: a table;
a table without the columns that say the same in every row, which is said once, where then no cell is wrapped; a table
with wrapped cells; one without the said columns too; the first column on a line of its own; one value a line. What is
piped is never folded, for there is no width it has to fit.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from usage_pipeline.cli.console import out, text

_GAP = 2
_EDGES = 1
_AROUND = 3  # of every column: its line and a blank on both sides


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as it is shown."""

    head: str
    cells: tuple[str, ...]
    is_right: bool

    @property
    def widest(self) -> int:
        """So wide nothing of it is wrapped."""
        return max(map(cell_len, (self.head, *self.cells)))

    @property
    def narrowest(self) -> int:
        """So wide only blanks between words are broken at; numbers hold none."""
        words = [word for value in (self.head, *self.cells) for word in value.split()]
        return max((cell_len(word) for word in words), default=0)

    @property
    def is_same(self) -> bool:
        """Whether all rows say the same."""
        return len(self.cells) > 1 and len(set(self.cells)) == 1


def print_table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Collection[str] = ()
) -> None:
    """Rows on stdout, in the widest layout that fits; numbers, and the columns named in `right`, to the right.

    Upstream text is data: markup in it is not obeyed.
    """
    body = [list(row) for row in rows]
    shown = [_column(name, [row[at] for row in body], name in right) for at, name in enumerate(columns)]
    console = out()
    if title is not None:
        console.print(Text(title, style="italic"))
    if not console.is_terminal:
        _print_table(console, shown, [column.widest for column in shown])
        return
    same = [column for column in shown if column.is_same]
    if len(same) == len(shown):
        same = same[1:]
    differing = [column for column in shown if column not in same]
    is_better_folded = bool(same) and not _fits_whole(shown, console.width) and _fits_whole(differing, console.width)
    if not is_better_folded and (widths := _fitting(shown, console.width)) is not None:
        _print_table(console, shown, widths)
    elif same and (widths := _fitting(differing, console.width)) is not None:
        _print_same(console, same)
        _print_table(console, differing, widths)
    elif len(differing) > 1 and _stacked_width(differing) <= console.width and len(body) > 1:
        _print_same(console, same)
        _print_stacked(console, differing)
    else:
        _print_records(console, shown)


def _column(name: str, values: Sequence[Any], is_right: bool) -> _Column:
    is_number = any(isinstance(value, int | Decimal | float) and not isinstance(value, bool) for value in values)
    return _Column(text(name), tuple(map(text, values)), is_right or is_number)


def _fits_whole(columns: Sequence[_Column], room: int) -> bool:
    """Whether they fit as a table in which nothing is wrapped."""
    return sum(column.widest + _AROUND for column in columns) + _EDGES <= room


def _fitting(columns: Sequence[_Column], room: int) -> list[int] | None:
    """A width for every column so that the table fits, the widest giving way first; None where it cannot."""
    widths = [column.widest for column in columns]
    least = [column.narrowest for column in columns]
    room -= _AROUND * len(columns) + _EDGES
    if sum(least) > room:
        return None
    while sum(widths) > room:
        at = max((at for at, width in enumerate(widths) if width > least[at]), key=lambda at: widths[at])
        widths[at] -= 1
    return widths


def _print_table(console: Console, columns: Sequence[_Column], widths: Sequence[int]) -> None:
    table = Table(header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(Text(column.head), justify=_justify(column), width=width, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))
    console.print(table, soft_wrap=not console.is_terminal)


def _justify(column: _Column) -> Any:
    return "right" if column.is_right else "left"


def _print_same(console: Console, columns: Sequence[_Column]) -> None:
    if columns:
        said = "; ".join(f"{column.head} {column.cells[0] or '(nothing)'}" for column in columns)
        console.print(Text(f"In every row: {said}."))


def _stacked_width(columns: Sequence[_Column]) -> int:
    return sum(column.widest + _GAP for column in columns[1:])


def _print_stacked(console: Console, columns: Sequence[_Column]) -> None:
    """The first column's value on a line, the others below it; a long one is wrapped, which looks like two."""
    first, *others = columns

    def line(values: Sequence[str]) -> str:
        return "".join(
            " " * _GAP + _padded(column, value) for column, value in zip(others, values, strict=True)
        ).rstrip()

    console.print(
        Text(first.head, style="bold"), Text(line([column.head for column in others]), style="bold"), sep="\n"
    )
    for name, *values in zip(first.cells, *(column.cells for column in others), strict=True):
        console.print(Text(name), Text(line(values)), sep="\n")


def _padded(column: _Column, value: str) -> str:
    blank = " " * (column.widest - cell_len(value))
    return blank + value if column.is_right else value + blank


def _print_records(console: Console, columns: Sequence[_Column]) -> None:
    """Row by row, a value a line beside its name; below it, indented, where it is too long for that."""
    names = max(cell_len(column.head) for column in columns)
    for number, row in enumerate(zip(*(column.cells for column in columns), strict=True), start=1):
        console.rule(Text(f"row {number}"), align="left", characters="─")
        for column, value in zip(columns, row, strict=True):
            if names + _GAP + cell_len(value) <= console.width:
                console.print(Text(f"{column.head}{' ' * (names - cell_len(column.head) + _GAP)}{value}".rstrip()))
            else:
                console.print(
                    Text(column.head), Padding(Text(value, overflow="fold"), (0, 0, 0, _GAP), expand=False), sep="\n"
                )
