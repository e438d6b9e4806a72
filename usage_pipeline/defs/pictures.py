"""Small pictures and tables for Dagster's metadata: bars of days as SVG inside markdown, rows of facts.

Put drawing here; which numbers are drawn is for the assets. Nothing of upstream's text is drawn, only days and numbers.
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal

import dagster as dg

DAYS_SHOWN = 30
_WIDTH, _HEIGHT, _TOP, _LEFT = 480, 120, 16, 4
_STYLE = "font:11px sans-serif;fill:#808080"  # readable on light and on dark


def day_bars(values: Mapping[date, Decimal | int], what: str) -> dg.MarkdownMetadataValue:
    """A bar per day, up to the last day there is; a day without a value is a gap, one below zero hangs down."""
    last = max(values)
    first = max(min(values), last - timedelta(days=DAYS_SHOWN - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    shown = {day: values[day] for day in days if day in values}
    svg = _svg(days, shown, f"{what}, {first} to {last}, at most {max(shown.values()):,.{_digits(shown)}f}")
    image = b64encode(svg.encode()).decode()
    total = sum(shown.values())
    words = f"{what}: {total:,.{_digits(shown)}f} in {len(shown)} days, {first} to {last}"
    return dg.MetadataValue.md(f"![{words}](data:image/svg+xml;base64,{image})\n\n{words}")


def _digits(values: Mapping[date, Decimal | int]) -> int:
    return 2 if any(isinstance(value, Decimal) for value in values.values()) else 0


def _svg(days: list[date], values: Mapping[date, Decimal | int], title: str) -> str:
    high, low = float(max(0, *values.values())), float(min(0, *values.values()))
    scale = (_HEIGHT - 2 * _TOP) / ((high - low) or 1)
    zero, step = _TOP + high * scale, (_WIDTH - 2 * _LEFT) / len(days)
    bars = "".join(
        f'<rect x="{_LEFT + at * step:.1f}" y="{zero - max(0.0, float(values[day])) * scale:.1f}" '
        f'width="{step * 0.8:.1f}" height="{max(abs(float(values[day])) * scale, 1):.1f}"/>'
        for at, day in enumerate(days)
        if day in values
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" role="img">'
        f'<text x="{_LEFT}" y="11" style="{_STYLE}">{title}</text><g fill="#4f8ef7">{bars}</g>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 3}" style="{_STYLE}">{days[0]}</text>'
        f'<text x="{_WIDTH - _LEFT}" y="{_HEIGHT - 3}" style="{_STYLE}" text-anchor="end">{days[-1]}</text></svg>'
    )


def fact_table(rows: list[dict[str, str | int]]) -> dg.TableMetadataValue:
    """Rows of facts; the first says which columns there are, so there must be one."""
    kinds = {name: "int" if isinstance(value, int) else "string" for name, value in rows[0].items()}
    return dg.MetadataValue.table(
        records=[dg.TableRecord(row) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in kinds.items()]),
    )
