"""What each dimension says on each day, as a number that changes when that does: a day's part of a fingerprint.

Put here from when until when a dimension's rows count; that marts ask for the rows that count on their day, and no
others, is the marts' business. A dimension without such days counts whole on every day.
"""

from bisect import bisect_right
from collections import defaultdict
from datetime import date

from usage_pipeline.lake.catalog import create_views
from usage_pipeline.lake.engine import workspace
from usage_pipeline.lake.snapshot import Snapshot
from usage_pipeline.marts.derived_names import names_relation
from usage_pipeline.name_lists import NAME_LISTS, NameList

_ALWAYS = "coalesce(valid_from, date '0001-01-01') as from_date, coalesce(valid_to, date '9999-12-31') as until_date"
# An override's place among the others follows from its pattern; it moves when lines are added that hold on other days.
_PRICES = (
    f"select null::varchar as organization, {_ALWAYS}, to_json(p)::varchar as content "  # noqa: S608 - own names
    "from (select * replace (case when not is_override then priority end as priority) from dims.prices) p"
)
_TAGS = f"select null::varchar as organization, {_ALWAYS}, to_json(t)::varchar as content from dims.tags t"  # noqa: S608
# Adding up the rows that begin and subtracting those that end gives, at any day, the sum over those that count.
_SUMS = """
with spans as (
    select organization, from_date, until_date, (md5_number(content) >> 28)::hugeint as number from ({spans})
),
changes as (
    select organization, unnest([from_date, until_date]) as day, unnest([number, -number]) as change from spans
)
select organization, day, sum(sum(change)) over (partition by organization order by day)
from changes group by organization, day order by day
"""


class DimContents:
    """The dimensions of a snapshot, whole and day by day."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.whole = snapshot.dim_hashes()
        self._days: dict[tuple[str, str | None], list[date]] = defaultdict(list)
        self._sums: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        spans = {names.name: _names(names) for names in NAME_LISTS.values()} | {"prices": _PRICES, "tags": _TAGS}
        self._has_days = set(spans)
        written = {name: sql for name, sql in spans.items() if snapshot.dims[name].at is not None}
        with workspace() as con:
            create_views(con, snapshot.dim_relations(written))
            for name, sql in written.items():
                create_views(con, [names_relation(NAME_LISTS[name])] if name in NAME_LISTS else [])
                for organization, day, total in con.execute(_SUMS.format(spans=sql)).fetchall():
                    self._days[name, organization].append(day)
                    self._sums[name, organization].append(total)

    def on(self, name: str, organization: str, day: date) -> str:
        """What a dimension says of an organization on a day; that it says anything at all is part of it."""
        if name not in self._has_days:
            return self.whole[name]
        key = (name, organization) if (name, organization) in self._days else (name, None)
        days = self._days.get(key, [])
        place = bisect_right(days, day)
        return f"{bool(days)}:{self._sums[key][place - 1] if place else 0}"


def _names(names: NameList) -> str:
    """Versions of names. What was created after a day was not used on it, so the day does not ask for it."""
    first = "greatest(from_date, coalesce(created_at::date, from_date))" if names.since == "created_at" else "from_date"
    said = "struct_pack(*columns(* exclude (organization, from_date, until_date)))"
    return (
        f"select organization, {first} as from_date, until_date, to_json({said})::varchar as content "  # noqa: S608
        f"from derived.{names.singular}_names"
    )
