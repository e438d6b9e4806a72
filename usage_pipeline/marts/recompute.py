"""The marts computed a second time, from nothing, and compared with those that are stored.

Put the comparison here; it writes into a temporary folder alone. Days whose ingredients have changed since they were
built are no difference: the next refresh computes them.
"""

from collections.abc import Collection
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from usage_pipeline.lake.engine import session
from usage_pipeline.lake.schemas import PART
from usage_pipeline.lake.snapshot import Snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.build import build_marts
from usage_pipeline.marts.fingerprints import Contents, DayPrints, Memory, fingerprints
from usage_pipeline.marts.registry import Mart, load_marts
from usage_pipeline.marts.tables import pin_mart
from usage_pipeline.progress import Tell

_DIFFERENT = """
with stored as ({stored}), computed as ({computed})
select count(*) from (
    (select * from stored except all select * from computed)
    union all
    (select * from computed except all select * from stored)
)
"""


def differing_marts(lake: Lake, snapshot: Snapshot, tell: Tell) -> dict[str, int]:
    """Per mart that differs from a recompute, in how many rows."""
    contents, built = Contents(snapshot), Memory(lake).prints
    found: dict[str, int] = {}
    with TemporaryDirectory(prefix="usage-pipeline-") as folder:
        again = Lake(Path(folder))
        build_marts(again, contents, tell=lambda _, done, total: tell("computing the marts again", done, total))
        for organization in sorted(contents.days):
            prints: dict[str, DayPrints] = {}
            for name, mart in load_marts().items():
                prints[name] = fingerprints(mart, organization, contents, prints)
                before = built.get((organization, name), {})
                days = [day for day, now in prints[name].items() if before.get(day) == now]
                wrong = _different_rows(lake, again, mart, organization, days) if days else 0
                if wrong:
                    found[name] = found.get(name, 0) + wrong
    return found


def _different_rows(lake: Lake, again: Lake, mart: Mart, organization: str, days: Collection[date]) -> int:
    """Rows of the days that only one of the two has."""
    chosen = "" if mart.is_whole else " and date in (select date from days)"
    sides = {
        side: f"select * from ({pin_mart(one, mart.name).scan(leave_out=[PART])}) "  # noqa: S608 - own file list
        f"where organization = $organization{chosen}"
        for side, one in (("stored", lake), ("computed", again))
    }
    with session() as con:
        con.register("days", pa.table({"date": pa.array(sorted(days), pa.date32())}))
        ((count,),) = con.execute(_DIFFERENT.format(**sides), {"organization": organization}).fetchall()
    return int(count)
