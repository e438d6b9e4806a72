"""Syncs end to end against the served organization: equal to the upstream, idempotent, independent per endpoint."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig, PermissionRefused
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.plan import asked_window, due_days
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import NOW, TODAY, World, everything, last_days, open_world, rows, versions

pytestmark = pytest.mark.marts("cost_daily", "usage_daily", "usage_daily_by_model")


def test_a_first_sync_brings_rows_of_all_twelve_endpoints(settings: Settings, still_world: World) -> None:
    """Two weeks of every endpoint arrive, each day known, each request one page."""
    report = still_world.sync(settings, last_days(14))
    assert [one.outcome for one in report.endpoints] == ["replaced"] * 12
    assert [one.total("requests") for one in report.endpoints] == [1] * 12
    counts = rows(settings, "select endpoint, count(*) from meta.coverage group by all")
    assert dict(counts) == dict.fromkeys(ENDPOINTS, 14)
    assert all(found for name, found in everything(settings, ["usage"]).items()), "a table is empty"


def test_a_second_sync_with_nothing_new_writes_nothing(settings: Settings, still_world: World) -> None:
    """Tables, marts, raw and restatements stay as they are; only the coverage log notes the check."""
    still_world.sync(settings, last_days(5))
    before, content = versions(settings), everything(settings)
    raw = list(landed_files(settings.raw_dir))
    report = still_world.sync(settings, last_days(5))
    assert {one.outcome for one in report.endpoints} == {"unchanged"}
    after = versions(settings)
    assert {name for name in after if after[name] != before[name]} == {"meta/sync_log"}
    assert list(landed_files(settings.raw_dir)) == raw
    assert everything(settings) == content


@pytest.mark.slow
def test_after_restatements_the_warehouse_equals_a_fresh_read(world: World, tmp_path: Path) -> None:
    """Sync, let the upstream restate, sync again: row for row what a fresh warehouse reads, changes in the ledger."""
    kept, fresh = world.settings(tmp_path / "kept"), world.settings(tmp_path / "fresh")
    world.sync(kept, last_days(20))
    before = everything(kept, ["usage"])
    world.clock.advance(timedelta(days=2))
    window = last_days(22, world.clock().date())
    report = world.sync(kept, window)
    world.sync(fresh, window)
    assert everything(kept) == everything(fresh)
    changed = sum(one.total("updated") + one.total("deleted") for one in report.endpoints)
    assert changed > 0, "the simulated upstream restated nothing"
    ledger = dict(rows(kept, "select change, count(*) from meta.restatements group by all"))
    assert ledger["updated"] + ledger["deleted"] == changed
    assert everything(kept, ["usage"]) != before


def test_restatements_turn_the_old_content_into_the_new(world: World, tmp_path: Path) -> None:
    """Undoing the ledger's entries from today's rows gives back what the warehouse said before."""
    settings = world.settings(tmp_path)
    window = last_days(15)
    grain = "date, project_id, usage_bytes"
    world.sync(settings, window, ["vector_stores"])
    before = rows(settings, f"select {grain} from usage.vector_stores order by all")
    world.clock.advance(timedelta(days=1))
    world.sync(settings, window, ["vector_stores"])
    undone = """
        select u.date, u.project_id, u.usage_bytes from usage.vector_stores u
        anti join meta.restatements r on r.date = u.date and r.key->>'project_id' is not distinct from u.project_id
        union all
        select date, key->>'project_id', (before->>'usage_bytes')::bigint from meta.restatements
        where before is not null
        order by all
    """
    assert rows(settings, undone) == before
    assert rows(settings, "select count(*) from meta.restatements")[0][0] > 0


def test_one_failing_endpoint_leaves_the_others_and_stays_as_it_was(world: World, tmp_path: Path) -> None:
    """Where one endpoint answers errors the other eleven sync, the warehouse is published, and its rows stay."""
    settings = world.settings(tmp_path)
    world.sync(settings, last_days(10))
    before = everything(settings, ["usage"])["usage.images"]
    world.clock.advance(timedelta(days=3))

    def broken(app: Any) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].endswith("/images"):
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            else:
                await app(scope, receive, send)

        return answer

    with LoopbackServer(broken(create_app(world.organization))) as server:
        partly = settings.model_copy(update={"base_url": server.base_url})
        report = world.sync(partly, last_days(13, world.clock().date()))
    assert [one.endpoint for one in report.failed] == ["images"]
    assert "images" in str(report.failed[0].error)
    assert {one.outcome for one in report.endpoints if one.endpoint != "images"} == {"replaced"}
    after = everything(settings, ["usage"])
    assert after["usage.images"] == before
    assert rows(settings, "select max(date) from marts.cost_daily") == [(world.clock().date(),)]


def test_what_does_not_fit_in_one_window_keeps_the_others_out_too(tmp_path: Path) -> None:
    """Where the second of the due windows holds an amount no column takes, the first is not stored either."""
    service, settings = Played(NOW), played_settings(tmp_path, USAGE_PIPELINE_START_DATE="2026-11-01")
    service.sync(settings, Window.of_days(date(2026, 11, 2), date(2026, 11, 3)), "costs")
    before = rows(settings, "select endpoint, date from meta.coverage")
    today = int(NOW.timestamp()) // 86400 * 86400
    amount = {"value": 10**25, "currency": "usd"}
    service.put("costs", today, {"object": "organization.costs.result", "amount": amount})
    report = sync(settings, choose_endpoints(["costs"]), clock=lambda: NOW, client_factory=service.client)
    assert "beyond any bill" in str(report.failed[0].error)
    assert len(report.failed[0].windows) == 2
    refresh(settings)
    assert rows(settings, "select endpoint, date from meta.coverage") == before


def test_costs_before_the_floor_of_api_keys_keep_what_each_side_gives(tmp_path: Path) -> None:
    """A window over the floor is read in two: keys after it, no keys before it, and the log says so."""
    with open_world(now=NOW.replace(year=2025, month=12, day=10)) as world:
        settings = world.settings(tmp_path, USAGE_PIPELINE_START_DATE="2025-12-01")
        report = world.sync(settings, last_days(10, world.clock().date()), ["costs"])
    assert not report.failed
    keyed = rows(settings, "select min(date) filter (api_key_id is not null), min(date) from usage.costs")
    assert [str(day) for day in keyed[0]] == ["2025-12-06", "2025-12-01"]
    log = rows(settings, "select window_start::date::varchar, group_by, len(notes) from meta.sync_log order by 1")
    assert [(start, "api_key_id" in group_by) for start, group_by, _ in log] == [
        ("2025-12-01", False),
        ("2025-12-06", True),
    ]
    assert log[0][2] >= 1


def test_a_refused_grouping_of_costs_gives_up_users_and_says_so(tmp_path: Path) -> None:
    """Where user together with project is refused, costs come without users and a note tells why."""
    with open_world(refuses_user_with_project=True) as world:
        settings = world.settings(tmp_path)
        report = world.sync(settings, last_days(3), ["costs"])
    assert not report.failed
    assert rows(settings, "select count(user_id), count(project_id) > 0 from usage.costs") == [(0, True)]
    assert any("user_id" in note for note in report.endpoints[0].notes("notes"))


@pytest.mark.parametrize("width", first_quick("1h", "1m"))
def test_finer_buckets_add_up_to_the_days(width: str, still_world: World, tmp_path: Path) -> None:
    """At 1h and 1m the same days hold the same totals as at 1d, the open day included."""
    daily = still_world.settings(tmp_path / "daily")
    fine = still_world.settings(tmp_path / "fine", USAGE_PIPELINE_BUCKET_WIDTH=width)
    names = ["completions", "vector_stores", "costs"]
    still_world.sync(daily, last_days(2), names)
    still_world.sync(fine, last_days(2), names)
    assert rows(fine, "select distinct bucket_width from usage.completions") == [(width,)]
    # Which buckets carry a split as null instead of 0 differs by width; the totals do not.
    totals = """
        select date, endpoint, project_id, model, num_model_requests, input_tokens, coalesce(input_cached_tokens, 0),
            output_tokens
        from marts.usage_daily_by_model order by all
    """
    assert rows(fine, totals) == rows(daily, totals)
    # A level is never summed over time: the day's is that of its last bucket.
    level = "select date, sum(value) from marts.usage_daily where measure = 'usage_bytes' group by all order by all"
    last = """
        select date, sum(usage_bytes) from usage.vector_stores
        where bucket_start = (select max(bucket_start) from usage.vector_stores v where v.date = vector_stores.date)
        group by all order by all
    """
    assert rows(fine, level) == rows(fine, last)


def test_without_a_window_a_sync_reads_what_is_due(world: World, tmp_path: Path) -> None:
    """First all days since the start; later the lookback; after days off everything that was missed."""
    settings = world.settings(tmp_path, USAGE_PIPELINE_LOOKBACK_DAYS="2")
    first = world.sync(settings, None, ["moderations"]).endpoints[0]
    assert [str(window) for window in first.windows] == ["2026-11-01..2026-11-21"]
    world.clock.advance(timedelta(days=1))
    second = world.sync(settings, None, ["moderations"]).endpoints[0]
    # 18 November was last read when it was two days old: it has had its lookback.
    assert [str(window) for window in second.windows] == ["2026-11-19..2026-11-22"]
    world.clock.advance(timedelta(days=5))
    third = world.sync(settings, None, ["moderations"]).endpoints[0]
    assert [str(window) for window in third.windows] == ["2026-11-20..2026-11-27"]
    assert (
        due_days(settings, CoverageLog(Lake(settings.lake_dir)), ENDPOINTS["moderations"], world.clock())[0].day == 24
    )


def test_days_in_the_future_are_refused_or_cut_off() -> None:
    """A window that begins after today is an error; one that reaches past it ends with today."""
    assert str(asked_window(TODAY, TODAY + timedelta(days=30), NOW)) == "2026-11-20..2026-11-21"
    with pytest.raises(FixConfig, match="2026-11-21 is in the future"):
        asked_window(TODAY + timedelta(days=1), None, NOW)


def test_a_wrong_key_fails_every_endpoint_and_writes_nothing(settings: Settings, still_world: World) -> None:
    """With a key of another kind each endpoint says so, nothing is published and no lake appears."""
    wrong = still_world.settings(settings.data_dir, OPENAI_ADMIN_KEY="sk-proj-not-an-admin")
    report = still_world.sync(wrong, last_days(2))
    assert all(isinstance(one.error, PermissionRefused) for one in report.failed)
    assert len(report.failed) == 12
    assert not settings.warehouse_path.exists()
    assert list(settings.data_dir.rglob("*.parquet")) == []


def test_an_unknown_endpoint_is_named_with_the_known_ones() -> None:
    """A misspelt endpoint gets the list to choose from."""
    with pytest.raises(FixConfig, match=r"no endpoint 'cost': the endpoints are .*costs"):
        choose_endpoints(["cost"])


def test_a_missing_key_stops_before_anything(data_dir: Path) -> None:
    """Without a key nothing is asked and nothing written."""
    settings = Settings(_env_file=None, USAGE_PIPELINE_DATA_DIR=str(data_dir))
    with pytest.raises(FixConfig, match="OPENAI_ADMIN_KEY"):
        sync(settings, choose_endpoints(None))
    assert not data_dir.exists()


def test_what_a_killed_run_stored_is_not_due_though_it_was_not_logged(
    world: World, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit itself says what was read: the next run does not ask for it again, and logs it."""
    settings = world.settings(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="2")

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("usage_pipeline.sync.logged", killed)
        with pytest.raises(KeyboardInterrupt):
            world.sync(settings, None, ["moderations"])
    again = world.sync(settings, None, ["moderations"]).endpoints[0]
    assert [str(window) for window in again.windows] == ["2026-11-18..2026-11-21"]
    assert rows(settings, "select count(distinct sync_id) from meta.sync_log") == [(2,)]
