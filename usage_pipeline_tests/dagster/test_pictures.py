"""Charts and tables in Dagster's metadata: what is drawn, and that it is an image browsers can read."""

from base64 import b64decode
from datetime import date, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from usage_pipeline.defs.pictures import DAYS_SHOWN, day_bars, fact_table

FIRST = date(2026, 11, 1)


def _drawn(values: dict[date, Decimal | int]) -> tuple[str, list[ElementTree.Element]]:
    """The words around the picture, and its bars."""
    told = day_bars(values, "rows a day").value or ""
    image = told.partition("data:image/svg+xml;base64,")[2].partition(")")[0]
    svg = ElementTree.fromstring(b64decode(image))  # noqa: S314 - our own
    return told, list(svg.iter("{http://www.w3.org/2000/svg}rect"))


def test_a_bar_a_day_and_a_gap_where_nothing_is_known() -> None:
    """Heights are in proportion; a day nobody read has no bar, and its place stays free."""
    words, bars = _drawn({FIRST: 10, FIRST + timedelta(days=1): 20, FIRST + timedelta(days=3): 5})
    heights = [float(bar.attrib["height"]) for bar in bars]
    left = [float(bar.attrib["x"]) for bar in bars]
    assert heights == pytest.approx([heights[1] / 2, heights[1], heights[1] / 4], rel=0.01)
    assert left[2] - left[1] == pytest.approx(2 * (left[1] - left[0]), rel=0.01)
    assert "rows a day: 35 in 3 days, 2026-11-01 to 2026-11-04" in words


def test_only_the_newest_days_are_drawn() -> None:
    """Thirty at most, the last included."""
    words, bars = _drawn({FIRST + timedelta(days=number): 1 for number in range(100)})
    assert len(bars) == DAYS_SHOWN
    assert f"to {FIRST + timedelta(days=99)}" in words


def test_credits_hang_down_and_nothing_at_all_is_drawn_too() -> None:
    """A day below zero begins at the line where the others end; days of zero are no division by it."""
    _, (up, down) = _drawn({FIRST: Decimal("3.00"), FIRST + timedelta(days=1): Decimal("-1.50")})
    assert float(up.attrib["y"]) + float(up.attrib["height"]) == pytest.approx(float(down.attrib["y"]), abs=0.2)
    assert len(_drawn({FIRST: 0})[1]) == 1


def test_a_table_has_the_columns_of_its_rows() -> None:
    """Numbers are numbers, so that the UI sorts them."""
    table = fact_table([{"day": "2026-11-01", "rows": 3}])
    assert [(one.name, one.type) for one in table.schema.columns] == [("day", "string"), ("rows", "int")]
    assert table.records[0].data == {"day": "2026-11-01", "rows": 3}
