"""Any sequence of lists gives each id the right name at each time."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.names import merge_names
from usage_pipeline.marts.derived import derived_relations

START = datetime(2026, 1, 1)  # noqa: DTZ001 - the lake's times are zone-less UTC
CREATED = START - timedelta(days=40)
IDS = ("a", "b", "c")

# A list: the name of each id that is in it, and the hours since the list before it.
snapshots = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(IDS), st.sampled_from(("x", "y", "z", None))), st.integers(1, 60)),
    min_size=1,
    max_size=9,
)
Lists = list[tuple[datetime, dict[str, str | None]]]


def at_times(drawn: list[tuple[dict[str, str | None], int]]) -> Lists:
    """Each list with the moment it was read."""
    found, now = [], START
    for names, hours in drawn:
        now += timedelta(hours=hours)
        found.append((now, names))
    return found


def merged(lists: Lists) -> list[dict[str, Any]]:
    """All lists merged, one after the other."""
    held: list[dict[str, Any]] = []
    for seen_at, names in lists:
        listed = [
            {"organization": "o", "id": id_, "name": name, "created_at": CREATED, "status": "active", "extras": None}
            for id_, name in names.items()
        ]
        held = merge_names(held, listed, seen_at, since="created_at")
    return held


def names_at(rows: list[dict[str, Any]], id_: str, moment: datetime) -> list[str | None]:
    """The names of the versions that hold at a moment; exactly one is right."""
    return [
        row["name"]
        for row in rows
        if row["id"] == id_ and row["valid_from"] <= moment and (row["valid_to"] is None or moment < row["valid_to"])
    ]


@given(snapshots)
def test_at_each_time_an_id_has_the_name_of_the_last_list_that_had_it(drawn: list[Any]) -> None:
    """From its creation on there is exactly one name, the newest list's with the id; before the first, the first."""
    lists = at_times(drawn)
    rows = merged(lists)
    moments = [CREATED, *(seen_at + step for seen_at, _ in lists for step in (timedelta(0), timedelta(minutes=1)))]
    for id_ in IDS:
        sightings = [(seen_at, names[id_]) for seen_at, names in lists if id_ in names]
        if not sightings:
            assert all(row["id"] != id_ for row in rows)
            continue
        for moment in moments:
            expected = next((name for seen_at, name in reversed(sightings) if seen_at <= moment), sightings[0][1])
            assert names_at(rows, id_, moment) == [expected]


@given(snapshots)
def test_sightings_say_when_an_id_was_first_last_and_no_longer_listed(drawn: list[Any]) -> None:
    """first_seen, last_seen and deleted_at are those of the lists, on every version; the last one stays open."""
    lists = at_times(drawn)
    rows = merged(lists)
    for id_ in {row["id"] for row in rows}:
        seen = [seen_at for seen_at, names in lists if id_ in names]
        gone = next((seen_at for seen_at, names in lists if seen_at > seen[-1] and id_ not in names), None)
        own = [row for row in rows if row["id"] == id_]
        assert {(row["first_seen"], row["last_seen"], row["deleted_at"]) for row in own} == {(seen[0], seen[-1], gone)}
        assert [row["valid_to"] for row in own] == [row["valid_from"] for row in own[1:]] + [None]
        assert all(one["name"] != other["name"] for one, other in pairwise(own))


@given(snapshots)
def test_a_list_read_again_changes_only_when_it_was_last_seen(drawn: list[Any]) -> None:
    """Merging the newest list once more, later, moves last_seen of what it has and nothing else."""
    lists = at_times(drawn)
    before = merged(lists)
    later = lists[-1][0] + timedelta(hours=5)
    after = merged([*lists, (later, lists[-1][1])])
    for one, other in zip(before, after, strict=True):
        expected = later if one["id"] in lists[-1][1] else one["last_seen"]
        assert other == {**one, "last_seen": expected}


@settings(max_examples=30, deadline=None)
@given(snapshots)
def test_a_mart_finds_exactly_one_version_per_id_and_day(drawn: list[Any]) -> None:
    """On every day, also before any sighting, the view has one row per id: the name at the day's end."""
    lists = at_times(drawn)
    rows = merged(lists)
    view = next(one for one in derived_relations() if one.name == "project_names")
    with duckdb.connect() as con:
        con.register("held", pa.Table.from_pylist(rows, schema=DIMS["projects"].schema))
        con.execute("create schema dims; create view dims.projects as from held")
        days = [date(2000, 1, 1), *(START.date() + timedelta(days=n) for n in range(-1, 30)), date(2999, 1, 1)]
        for day in days:
            found = con.execute(
                f"select id, name, is_deleted from ({view.sql}) where $day >= from_date and $day < until_date",
                {"day": day},
            ).fetchall()
            end = max(datetime.combine(day, datetime.max.time()), CREATED)
            gone = {row["id"] for row in rows if row["deleted_at"] is not None}
            expected = [(id_, names_at(rows, id_, end)[0], id_ in gone) for id_ in {row["id"] for row in rows}]
            assert sorted(found, key=str) == sorted(expected, key=str)
