"""The files people write beside the data, all together: budgets.csv, prices.csv, tags.csv.

Put here what holds for every such file; what one of them may hold is its own module's.
"""

from collections.abc import Sequence
from pathlib import Path

from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.budgets import BUDGETS_FILE, load_budgets, read_budgets
from usage_pipeline.marts.price_overrides import PRICES_FILE, read_overrides
from usage_pipeline.marts.prices import refresh_prices
from usage_pipeline.marts.tags import TAGS_FILE, load_tags, read_tags


def take_inputs(lake: Lake) -> None:
    """Bring the files from the lake's URL, where it has one: they count for every host.

    Raises:
        FixConfig: a file lies on this host alone.
    """
    if lake.mirror is not None:
        lake.mirror.take_written((BUDGETS_FILE, PRICES_FILE, TAGS_FILE))


def check_inputs(data_dir: Path, organizations: Sequence[str]) -> None:
    """Read every file and keep nothing: a wrong one is told before hours of work, not after.

    Raises:
        FixConfig: a file is wrong; the message names file, line, column and what to write.
    """
    read_budgets(data_dir / BUDGETS_FILE, organizations)
    read_overrides(data_dir / PRICES_FILE)
    read_tags(data_dir / TAGS_FILE)


def inputs_state(data_dir: Path) -> tuple[tuple[int, int] | None, ...]:
    """When the files were last written and how long they are: what is the same was not edited."""
    paths = (data_dir / name for name in (BUDGETS_FILE, PRICES_FILE, TAGS_FILE))
    found = (path.stat() if path.exists() else None for path in paths)
    return tuple(None if one is None else (one.st_mtime_ns, one.st_size) for one in found)


def load_inputs(lake: Lake, data_dir: Path, organizations: Sequence[str]) -> None:
    """Make `dims.budgets`, `dims.tags` and `dims.prices` hold what the files say; what is the same is not written.

    `organizations` are the labels of all that are synced into this folder.

    The caller holds the warehouse's lock.

    Raises:
        FixConfig: a file is wrong; every table keeps what it had.
    """
    check_inputs(data_dir, organizations)
    load_budgets(lake, data_dir, organizations)
    load_tags(lake, data_dir)
    refresh_prices(lake, data_dir)
