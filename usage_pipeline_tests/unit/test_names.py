"""Names that outlive their owners: from the service's lists into the dims tables, marts and back from raw."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.errors import LakeDamaged, LakeUnwritable, PermissionRefused
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.names import replace_names
from usage_pipeline.lake.store import Lake
from usage_pipeline.name_lists import LISTS as ALL_LISTS
from usage_pipeline.name_lists import NAME_LISTS, NameList
from usage_pipeline.names import choose_lists
from usage_pipeline.records import ListedName
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline_tests.unit.test_cli import env, run
from usage_pipeline_tests.world import NOW, World, everything, last_days, open_world, rows, versions

pytestmark = pytest.mark.marts("cost_daily")
by_key = pytest.mark.marts("cost_by_key")

LISTS = list(NAME_LISTS.values())
ALL = list(ALL_LISTS.values())  # with the spend limits, which the command reads too
ENDPOINT = ["moderations"]


def shown(world: World, names: NameList) -> dict[str, str]:
    """Id -> name of everything the service lists now."""
    organization = world.organization
    projects = [one["id"] for one in organization.names(NAME_LISTS["projects"], None) or []]
    scopes = projects if names.is_per_project else [None]
    return {
        names.id_of(one, scope): one.get("name", "")
        for scope in scopes
        for one in organization.names(names, scope) or []
    }


def held(settings: Settings, names: NameList) -> dict[str, str]:
    """Id -> last name of what the dims table has as not deleted."""
    sql = f"select id, name from {names.label} where valid_to is null and deleted_at is null"
    return dict(rows(settings, sql))


def test_every_list_is_in_its_table_as_the_service_shows_it(settings: Settings, still_world: World) -> None:
    """One sync brings all five lists; ids, names, attributes, creation times, one row each."""
    report = still_world.sync(settings, last_days(2), ENDPOINT, LISTS)
    assert [(one.label, one.outcome) for one in report.names] == [(f"dims.{n}", "replaced") for n in NAME_LISTS]
    for names, one in zip(LISTS, report.names, strict=True):
        listed = shown(still_world, names)
        assert held(settings, names) == listed
        assert one.total("rows") == one.total("inserted") == len(listed) > 0
        assert rows(settings, f"select count(*) from {names.label} where valid_from <> {names.since}") == [(0,)]
    owners = "select count(*) filter (owner_type = 'user'), count(*) filter (owner_type = 'service_account') from"
    users, accounts = rows(settings, f"{owners} dims.api_keys semi join dims.users on users.id = owner_id")[0]
    assert (users > 0, accounts) == (True, 0)
    unknown = "select count(*) from dims.api_keys anti join dims.service_accounts s on s.id = owner_id"
    assert rows(settings, f"{unknown} where owner_type = 'service_account'") == [(0,)]
    assert rows(settings, "select count(*) from dims.api_keys anti join dims.projects p on p.id = project_id") == [(0,)]


@pytest.mark.slow
def test_as_time_passes_deleted_things_keep_their_last_name(world: World, tmp_path: Path) -> None:
    """Over a year of syncs every id ever listed has the name it was last listed under."""
    settings = world.settings(tmp_path)
    world.clock.set(NOW - timedelta(days=330))
    last: dict[str, dict[str, str]] = {name: {} for name in NAME_LISTS}
    lost: dict[str, set[str]] = {name: set() for name in NAME_LISTS}
    for _ in range(6):
        report = world.sync(settings, last_days(1, world.clock().date()), ENDPOINT, LISTS)
        assert all(one.error is None for one in report.names)
        for names in LISTS:
            lost[names.name] |= last[names.name].keys() - shown(world, names).keys()
            last[names.name] |= shown(world, names)
            assert held(settings, names) == shown(world, names)
        world.clock.advance(timedelta(days=60))
    for names in LISTS:
        every = f"select id, name from {names.label} where valid_to is null"
        assert dict(rows(settings, every)) == last[names.name]
    # Members left and came back, keys were deleted for good, an archived project is still listed.
    assert all(lost[name] for name in ("users", "api_keys", "service_accounts"))
    assert not lost["projects"]
    assert rows(settings, "select count(*) > 0 from dims.api_keys where deleted_at is not null") == [(True,)]
    for name in ("projects", "api_keys"):
        assert rows(settings, f"select count(*) > 0 from dims.{name} where valid_to is not null") == [(True,)]
    assert rows(settings, "select distinct status from dims.projects order by all") == [("active",), ("archived",)]


def test_what_is_read_again_is_written_again_only_once_a_day(world: World, tmp_path: Path) -> None:
    """Within a day the same lists write no table and no raw file; after a day they move last_seen and no mart."""
    settings = world.settings(tmp_path)
    world.sync(settings, last_days(1), ["costs"], LISTS)
    before, raw = versions(settings), list(landed_files(settings.raw_dir))
    world.clock.advance(timedelta(minutes=1))
    again = world.sync(settings, last_days(1), ENDPOINT, LISTS)
    assert {one.outcome for one in again.names} == {"unchanged"}
    assert {name for name, v in versions(settings).items() if name.startswith("dims") and v != before[name]} == set()
    assert [path for path in landed_files(settings.raw_dir) if "moderations" not in str(path)] == raw
    lake, seen_at = Lake(settings.lake_dir), NOW + timedelta(days=1)
    items = [
        ListedName(id=row[0], columns=dict(zip(("name", "email", "role", "added_at"), row[1:], strict=True)), extras={})
        for row in rows(settings, "select id, name, email, role, added_at at time zone 'UTC' from dims.users")
    ]
    assert replace_names(lake, "users", "default", items, seen_at - timedelta(seconds=1)).is_written is False
    assert replace_names(lake, "users", "default", items, seen_at).is_written is True
    assert versions(settings)["dims/users"] == before["dims/users"] + 1
    assert not any(build.days for build in _refresh(settings))
    assert rows(settings, "select distinct last_seen from dims.users") == [(seen_at.replace(tzinfo=None),)]


def _refresh(settings: Settings) -> list[Any]:
    from usage_pipeline.warehouse import refresh

    return refresh(settings).builds


def listed(*names: str) -> list[ListedName]:
    """Admin keys named by their ids."""
    return [ListedName(id=name[0], columns={"name": name}, extras={}) for name in names]


def test_an_older_list_changes_nothing_and_organizations_do_not_mix(data_dir: Path) -> None:
    """Of two lists the one whose read began later counts, and each organization has names of its own."""
    lake = Lake(data_dir / "lake")
    replace_names(lake, "admin_keys", "one", listed("a1", "b1"), NOW)
    late = replace_names(lake, "admin_keys", "one", listed("a2"), NOW - timedelta(hours=1))
    assert (late.outcome, late.is_written) == ("unchanged", False)
    other = replace_names(lake, "admin_keys", "two", listed("a9"), NOW - timedelta(hours=1))
    assert (other.outcome, other.inserted, other.deleted) == ("replaced", 1, 0)
    renamed = replace_names(lake, "admin_keys", "one", listed("a2"), NOW + timedelta(hours=1))
    assert (renamed.inserted, renamed.updated, renamed.deleted) == (0, 1, 1)
    from usage_pipeline.lake.dims import DIMS, read_dim

    found = read_dim(lake, DIMS["admin_keys"]).to_pylist()
    shown_rows = sorted((r["organization"], r["name"], r["valid_to"] is None, r["deleted_at"] is None) for r in found)
    assert shown_rows == [
        ("one", "a1", False, True),
        ("one", "a2", True, True),
        ("one", "b1", True, False),
        ("two", "a9", True, True),
    ]


def test_an_unwritable_raw_archive_leaves_the_table(data_dir: Path) -> None:
    """Nothing reaches the table whose raw file could not be landed, and the error says which table."""
    lake = Lake(data_dir / "lake")

    def refuse() -> Path:
        raise OSError("no space left")

    with pytest.raises(LakeUnwritable, match=r"dims\.admin_keys: .*no space left"):
        replace_names(lake, "admin_keys", "one", listed("a1"), NOW, land=refuse)
    assert not (lake.root / "dims" / "admin_keys").exists()


def refusing(world: World, refuses: Callable[[str], bool], status: int = 500) -> Any:
    """The world's app, answering errors where the path says so."""
    app = create_app(world.organization)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if refuses(scope["path"]):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b'{"error": "Missing scopes: api.management.read"}'})
        else:
            await app(scope, receive, send)

    return answer


def test_one_failing_list_leaves_the_rest_and_its_table_as_it_was(world: World, tmp_path: Path) -> None:
    """Keys of one project that cannot be read fail that list alone; names of others and usage arrive."""
    settings = world.settings(tmp_path)
    world.sync(settings, last_days(2), ["costs"], LISTS)
    before = rows(settings, "from dims.api_keys order by all")
    world.clock.advance(timedelta(days=60))
    some = world.organization.directory.projects[0].id
    with LoopbackServer(refusing(world, lambda path: path.endswith(f"{some}/api_keys"), 404)) as server:
        partly = settings.model_copy(update={"base_url": server.base_url})
        report = world.sync(partly, last_days(1, world.clock().date()), ["costs"], LISTS)
    assert not report.failed
    failed = [one for one in report.names if one.error is not None]
    assert [(one.label, one.outcome) for one in failed] == [("dims.api_keys", "failed")]
    assert str(failed[0].error).startswith(f"dims.api_keys of {some}: not found")
    assert rows(settings, "from dims.api_keys order by all") == before
    assert held(settings, NAME_LISTS["users"]) == shown(world, NAME_LISTS["users"])


@pytest.mark.slow
def test_a_key_without_the_scope_for_lists_is_a_warning(tmp_path: Path) -> None:
    """Usage is synced and the command succeeds; each list says in one line which right is missing."""
    with open_world() as world:
        settings = world.settings(tmp_path / "data", OPENAI_ADMIN_KEY="sk-admin-nonames")
        report = world.sync(settings, last_days(2), None, LISTS)
        assert not report.failed
        assert {one.outcome for one in report.names} == {"refused"}
        assert all(isinstance(one.error, PermissionRefused) for one in report.names)
        arguments = ("sync", "--since", "2026-11-19", "--until", "2026-11-20", "--json")
        result = run(*arguments, cwd=tmp_path, **env(settings, OPENAI_ADMIN_KEY="sk-admin-nonames"))
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "dims." in line]
    assert [line.split()[1].rstrip(":") for line in lines] == [names.label for names in ALL]
    assert all(line.startswith("warning: ") and "api.management.read" in line for line in lines)


@pytest.mark.slow
def test_the_command_shows_names_beside_endpoints(still_world: World, tmp_path: Path) -> None:
    """`sync` has a row per list, `--json` an entry; with --endpoint names are left alone; a failed list exits 1."""
    settings = still_world.settings(tmp_path / "data")
    arguments = ("sync", "--since", "2026-11-19", "--until", "2026-11-20")
    table = run(*arguments, cwd=tmp_path, **env(settings))
    assert table.returncode == 0, table.stderr
    assert all(names.label in table.stdout for names in ALL)
    told = json.loads(run(*arguments, "--json", cwd=tmp_path, **env(settings)).stdout)
    assert [(one["table"], one["outcome"], one["error"]) for one in told["names"]] == [
        (names.label, "unchanged", None) for names in ALL
    ]
    assert [one["rows"] for one in told["names"]] == [len(shown(still_world, names)) for names in ALL]
    some = json.loads(run(*arguments, "--endpoint", "images", "--json", cwd=tmp_path, **env(settings)).stdout)
    assert some["names"] == []
    with LoopbackServer(refusing(still_world, lambda path: path.endswith("/users"), 400)) as server:
        broken = env(settings) | {"OPENAI_BASE_URL": server.base_url}
        failed = run(*arguments, cwd=tmp_path, **broken)
    assert failed.returncode == 1
    lines = failed.stderr.strip().splitlines()
    assert len([line for line in lines if line.startswith("usage-pipeline: dims.users: ")]) == 1
    assert choose_lists(None) == ALL


@pytest.mark.slow
def test_replay_rebuilds_the_names_from_raw(world: World, tmp_path: Path) -> None:
    """With the lake gone, raw alone gives back every version, sighting and deletion, to the row."""
    settings = world.settings(tmp_path)
    for _ in range(3):
        world.sync(settings, last_days(1, world.clock().date()), ["costs"], LISTS)
        world.clock.advance(timedelta(days=45))
    before, marts = everything(settings, ["dims"]), everything(settings, ["marts"])
    assert any(row for row in before["dims.api_keys"])
    shutil.rmtree(settings.lake_dir)
    done = replay(settings.model_copy(update={"base_url": "http://127.0.0.1:9"}))
    assert done.files == len(list(landed_files(settings.raw_dir)))
    assert everything(settings, ["dims"]) == before
    assert everything(settings, ["marts"]) == marts


@pytest.mark.slow
@by_key
def test_cost_by_key_has_the_name_of_the_day_and_says_what_is_deleted(world: World, tmp_path: Path) -> None:
    """Every billed row keeps its amount; names are those of the day's list; much was spent by keys gone by now."""
    then = NOW - timedelta(days=300)
    world.clock.set(then)
    settings = world.settings(tmp_path)
    world.sync(settings, last_days(15, then.date()), ["costs"], LISTS)
    world.clock.set(NOW)
    world.sync(settings, last_days(15), ["costs"], LISTS)
    billed = "select date, currency, sum(amount) from {} group by all order by all"
    assert rows(settings, billed.format("marts.cost_by_key")) == rows(settings, billed.format("usage.costs"))
    directory = world.organization.directory
    keys = {key.id: life for key, life in directory.keys}
    projects = {life.id: life for life in directory.projects}
    sql = "select date, api_key_id, api_key_name, api_key_is_deleted, project_id, project_name from marts.cost_by_key"
    seen = {True: int(then.timestamp()), False: int(NOW.timestamp())}
    for day, key, name, is_deleted, project, project_name in rows(settings, sql):
        # Days before a version was first seen have the version before it, so the last days have it only from today on.
        if day <= then.date() or day == NOW.date():
            at = seen[day <= then.date()]
            assert project is None or project_name == projects[project].name_at(at)
            if key is not None and keys[key].is_there(at):
                assert name == keys[key].name_at(at)
        assert is_deleted == (None if key is None else not keys[key].is_there(seen[False]))
    share = "select sum(amount) filter (api_key_is_deleted) / sum(amount) from marts.cost_by_key where amount > 0"
    assert rows(settings, f"{share} and date <= $day", {"day": then.date()})[0][0] > 0.3


@by_key
def test_without_lists_costs_have_ids_and_no_claims(settings: Settings, still_world: World) -> None:
    """Where names were never read, the mart has the bill with null names, and calls no key deleted."""
    still_world.sync(settings, last_days(2), ["costs"])
    sql = "select count(*) > 0, count(project_name), count(api_key_name), count(api_key_is_deleted)"
    assert rows(settings, f"{sql} from marts.cost_by_key") == [(True, 0, 0, 0)]


@by_key
def test_replay_does_not_forget_names_whose_raw_is_gone(settings: Settings, still_world: World) -> None:
    """With the raw files of a list missing replay refuses; told that it may forget, it drops them."""
    still_world.sync(settings, last_days(1), ENDPOINT, LISTS)
    for path in (one for one in landed_files(settings.raw_dir) if "dims.users" in str(one)):
        path.unlink()
    before = everything(settings, ["dims"])
    with pytest.raises(LakeDamaged, match=r"names, or versions of them, in dims\.users: raw files are missing"):
        replay(settings)
    assert everything(settings, ["dims"]) == before
    replay(settings, may_forget=True)
    after = everything(settings, ["dims"])
    assert (after["dims.users"], after["dims.projects"]) == ([], before["dims.projects"])


@by_key
def test_a_renamed_key_renames_the_days_after_and_not_those_before(settings: Settings, still_world: World) -> None:
    """A mart's earlier days keep the earlier name; only then was the key called so."""
    still_world.sync(settings, last_days(5), ["costs"], LISTS)
    key = rows(settings, "select api_key_id from marts.cost_by_key where api_key_name is not null limit 1")[0][0]
    found = rows(
        settings, "select id, name, project_id, created_at at time zone 'UTC', owner_type, owner_id from dims.api_keys"
    )
    items = [
        ListedName(
            id=row[0],
            columns={
                "name": "renamed" if row[0] == key else row[1],
                "project_id": row[2],
                "created_at": row[3],
                "owner_type": row[4],
                "owner_id": row[5],
            },
            extras={},
        )
        for row in found
    ]
    renamed_at = NOW - timedelta(days=2)
    lake = Lake(settings.lake_dir)
    shutil.rmtree(lake.root / "dims" / "api_keys")
    original = [
        ListedName(id=i.id, columns={**i.columns, "name": r[1]}, extras={}) for i, r in zip(items, found, strict=True)
    ]
    replace_names(lake, "api_keys", "default", original, NOW - timedelta(days=10))
    replace_names(lake, "api_keys", "default", items, renamed_at)
    _refresh(settings)
    sql = "select distinct date, api_key_name = 'renamed' from marts.cost_by_key where api_key_id = $key order by all"
    assert all(is_new == (day >= renamed_at.date()) for day, is_new in rows(settings, sql, {"key": key}))
    assert rows(settings, "select count(*) > 0 from marts.cost_by_key where api_key_name = 'renamed'") == [(True,)]
