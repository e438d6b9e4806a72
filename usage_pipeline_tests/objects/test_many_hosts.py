"""Many hosts with one lake: whoever comes second, comes in between or dies, nothing is lost and nothing is twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.objects.bucket import Application, Bucket, losing_answers
from usage_pipeline_tests.objects.conftest import Host
from usage_pipeline_tests.oracle.points import Killed, at, killing, small
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import TODAY, World, everything, last_days, open_world, rows

ENDPOINTS = ["costs", "completions"]
SCHEMAS = ("usage", "marts")


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    """Two endpoints and three marts: what a host does is then little more than the steps that others come between."""
    with small():
        yield


@pytest.fixture(scope="module")
def still_world() -> Iterator[World]:
    """One of this module's own: the bill of two endpoints that it makes here it would keep for tests that know all."""
    with open_world() as world:
        yield world


def _alone(world: World, settings: Settings, days: int, **more: Any) -> dict[str, list[tuple[Any, ...]]]:
    """What a lake in a folder says after one sync of the days."""
    assert world.sync(settings, last_days(days), ENDPOINTS, **more).errors == []
    return everything(settings, SCHEMAS)


def _days(first: int, last: int) -> Window:
    """From so many days ago to so many."""
    return Window.of_days(TODAY - timedelta(days=first), TODAY - timedelta(days=last - 1))


@pytest.mark.parametrize(
    "windows", first_quick((_days(2, 0), _days(2, 0)), (_days(2, 2), _days(1, 0)), (_days(2, 1), _days(1, 0)))
)
def test_two_hosts_sync_at_once(
    windows: tuple[Window, Window], still_world: World, host: Host, settings: Settings
) -> None:
    """The same days, others, or some: what both publish is what one host alone would have."""
    expected = _alone(still_world, settings, 3)

    def sync(name: str, window: Window) -> list[object]:
        return list(still_world.sync(host(name), window, ENDPOINTS).errors)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(sync, ("a", "b"), windows)) == [[], []]
    for name in ("a", "b"):
        refresh(host(name))
        assert everything(host(name), SCHEMAS) == expected
        assert rows(host(name), "from meta.restatements") == []
        assert verify(host(name)).findings == []


@pytest.mark.parametrize(
    "point",
    first_quick(
        "before landing",
        "after landing",
        "after comparing",
        "before the commit",
        "after the commit",
        "before the log rows",
    ),
)
def test_another_host_comes_between(point: str, still_world: World, host: Host, settings: Settings) -> None:
    """Wherever a host is with its first read, another one may store the same days: they are stored once."""
    expected = _alone(still_world, settings, 2)

    def other() -> None:
        assert still_world.sync(host("b"), last_days(2), ENDPOINTS).errors == []

    with at(point, other):
        assert still_world.sync(host("a"), last_days(2), ENDPOINTS).errors == []
    assert everything(host("a"), SCHEMAS) == expected
    assert rows(host("a"), "from meta.restatements") == []
    assert verify(host("a")).findings == []


@pytest.mark.parametrize(
    "point", first_quick("before the first mart", "after the first mart", "before the marts are remembered")
)
def test_another_host_builds_the_marts_meanwhile(
    point: str, still_world: World, host: Host, settings: Settings
) -> None:
    """A host whose marts were decided on what another has changed since builds anew; both are right at the end."""
    expected = _alone(still_world, settings, 3)
    assert still_world.sync(host("a"), _days(2, 2), ENDPOINTS).errors == []

    def other() -> None:
        assert still_world.sync(host("b"), _days(1, 0), ENDPOINTS).errors == []

    with at(point, other):
        refresh(host("a"))
        assert still_world.sync(host("a"), _days(1, 1), ENDPOINTS).errors == []
    for name in ("a", "b"):
        refresh(host(name))
        assert everything(host(name), SCHEMAS) == expected
        assert verify(host(name)).findings == []


def test_a_clock_that_is_ahead_does_not_make_a_mart_stale(still_world: World, host: Host, settings: Settings) -> None:
    """What a host notes of the marts counts after what another noted before, whatever its clock says."""
    from usage_pipeline.marts import fingerprints

    expected = _alone(still_world, settings, 2)
    ahead = fingerprints.utc_now() + timedelta(hours=3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fingerprints, "utc_now", lambda: ahead)
        assert still_world.sync(host("a"), _days(1, 1), ENDPOINTS).errors == []
    assert still_world.sync(host("b"), _days(1, 0), ENDPOINTS).errors == []
    refresh(host("a"))
    assert everything(host("a"), SCHEMAS) == expected
    with_notes = "select max(built_at) from ({scan})"
    table = Lake(host("a").lake_dir, host("a").lake_url).mart_log
    from usage_pipeline.lake.engine import session

    with session() as con:
        (newest,) = con.sql(with_notes.format(scan=table.scan(table.open()))).fetchall()[0]
    assert newest > ahead.replace(tzinfo=None)


@pytest.mark.parametrize(
    "point",
    first_quick("after landing", "before the commit", "after the commit", "before the log rows", "before publishing"),
)
def test_a_killed_host_is_followed_by_another(point: str, world: World, bucket: Bucket, tmp_path: Path) -> None:
    """A host that dies between raw and commit, or before its log, leaves nothing that its folder was needed for."""

    def host(name: str) -> Settings:
        return world.settings(tmp_path / name, USAGE_PIPELINE_LAKE_URL=bucket.url)

    with pytest.raises(Killed), killing(point):
        world.sync(host("a"), last_days(2), ENDPOINTS)
    world.clock.advance(timedelta(minutes=1))
    assert world.sync(host("b"), last_days(2), ENDPOINTS).errors == []
    assert everything(host("b"), SCHEMAS) == _alone(world, world.settings(tmp_path / "alone"), 2)
    assert verify(host("b")).findings == []


def test_raw_is_there_before_the_commit(still_world: World, host: Host, bucket: Bucket) -> None:
    """Of each read the lake accepted, the raw file was put before the entry of the log that stands on it."""
    puts: list[str] = []

    def noting(request: dict[str, Any], answer: Application) -> Application:
        if request["REQUEST_METHOD"] == "PUT":
            puts.append(request["PATH_INFO"].partition("/team/usage/")[2])
        return answer

    bucket.spoil = noting
    assert still_world.sync(host("a"), last_days(2), ["costs"]).errors == []
    raw = next(number for number, key in enumerate(puts) if key.startswith("raw/"))
    commits = [number for number, key in enumerate(puts) if key.startswith("lake/usage/costs/_delta_log/")]
    assert min(commits[1:]) > raw  # the first entry makes the empty table


@pytest.mark.parametrize("table", first_quick("usage/costs", "meta/sync_log", "marts/cost_daily", "meta/mart_log"))
def test_a_commit_whose_answer_got_lost_counts_once(
    table: str, still_world: World, host: Host, bucket: Bucket, settings: Settings
) -> None:
    """The put is asked for again, finds its own entry, and takes it for another's: still nothing is twice or lost."""
    expected = _alone(still_world, settings, 2)
    assert still_world.sync(host("a"), _days(1, 1), ENDPOINTS).errors == []
    bucket.spoil = losing_answers(1, f"{table}/_delta_log/0")
    assert still_world.sync(host("a"), last_days(2), ENDPOINTS).errors == []
    bucket.spoil = None
    refresh(host("b"))
    assert everything(host("b"), SCHEMAS) == expected
    assert rows(host("b"), "from meta.restatements") == []
    assert verify(host("b")).findings == []


def test_restatements_whose_answer_got_lost_are_noted_once(world: World, bucket: Bucket, tmp_path: Path) -> None:
    """An appended commit that is asked for again adds its file again, not its rows."""
    shared = world.settings(tmp_path / "a", USAGE_PIPELINE_LAKE_URL=bucket.url)
    assert world.sync(shared, last_days(1), ["completions"]).errors == []
    world.clock.advance(timedelta(hours=2))
    bucket.spoil = losing_answers(1, f"meta/restatements/_delta_log/{1:020d}")
    assert world.sync(shared, last_days(1), ["completions"]).errors == []
    (counted,) = rows(shared, "select count(*), count(distinct (bucket_start, key)) from meta.restatements")
    assert counted[0] == counted[1] > 0


@pytest.mark.slow
def test_many_hosts_append_to_one_log(still_world: World, host: Host) -> None:
    """Eight hosts that log at once lose no row."""
    logs = [CoverageLog(Lake(host(str(number)).lake_dir, host("x").lake_url)) for number in range(8)]
    report = still_world.sync(host("a"), last_days(1), ["costs"])
    row = dict(report.endpoints[0].rows[0])
    for number, log in enumerate(logs):
        log.add({**row, "commit_id": f"commit-{number}"})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(CoverageLog.flush, logs))
    for log in logs:
        assert {f"commit-{number}" for number in range(8)} <= log.commit_ids()
