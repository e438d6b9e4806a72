"""Keeping `dims.prices` up to date: the user's overrides before the price book.

Put deciding what the table holds here; the file is read in price_overrides.py, the book in price_book.py.
"""

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.lake.dims import PRICES, read_dim, replace_dim
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.price_overrides import PRICES_FILE, read_overrides

_BOOK = "genai-prices"


@cache
def book_source() -> str:
    """The price book's name and version, as `dims.prices` tells it, and what flattened it: other code, other rows."""
    code = files("usage_pipeline.marts").joinpath("price_book.py").read_bytes()
    return f"{_BOOK} {version(_BOOK)}, flattened by {hashlib.sha256(code).hexdigest()[:8]}"


def refresh_prices(lake: Lake, data_dir: Path) -> bool:
    """Bring `dims.prices` up to date with the override file and the book; False where it already was.

    The book's rows are read out of the package, which takes a while, only when its version is not the stored one.
    The caller holds the warehouse's lock.

    Raises:
        FixConfig: the override file is wrong; nothing was changed.
    """
    overrides, source = read_overrides(data_dir / PRICES_FILE), book_source()
    held = read_dim(lake, PRICES)
    book = held.filter(pc.equal(held["source"], source))
    if book.num_rows == 0:
        book = _read_book(source)
    return replace_dim(lake, PRICES, pa.concat_tables([overrides, book]))


def _read_book(source: str) -> pa.Table:
    from usage_pipeline.marts.price_book import book_table  # half a second of import, wanted once per version

    return book_table(source)
