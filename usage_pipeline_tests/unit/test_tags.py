"""Chargeback tags: the file, who gets which tag, and a bill by team that adds up."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.dims import TAGS, read_dim
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.tags import load_tags
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.played_bills import FIRST, billed, cost, name_them, put_bills, sync_bills
from usage_pipeline_tests.world import World, everything, last_days, rows

pytestmark = pytest.mark.marts("cost_by_team")

HEADER = "kind,match,team,cost_center,valid_from,valid_to"


def tag(settings: Settings, *lines: str) -> None:
    """Write the tags and bring the warehouse up to date."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "tags.csv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    refresh(settings)


def teams(settings: Settings) -> dict[str, Decimal]:
    """Cost by team, over all days of a bill in one currency."""
    return dict(rows(settings, "select team, sum(amount) from marts.cost_by_team group by team"))


WHO = {"project_id": "proj_a", "user_id": "user_a", "api_key_id": "key_a"}


@pytest.fixture(scope="module")
def one_cost(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse of one cost, for tests that only tag it."""
    return billed(tmp_path_factory.mktemp("tags"), [cost("2.5", **WHO)])[1]


@pytest.mark.parametrize(
    ("lines", "team"),
    [
        ([], "untagged"),
        (["project,proj_b,Other,,,"], "untagged"),
        (["project,proj_a,Project,,,", "user,user_a,User,,,"], "User"),
        (["project,proj_a,Project,,,", "user,user_a,User,,,", "api_key,key_a,Key,,,"], "Key"),
        (["api_key,key_*,Pattern,,,", "user,user_a,User,,,"], "Pattern"),
        (["project,proj_*,Pattern,,,", "project,proj_a,Exact,,,"], "Exact"),
        (["project,*_a,First,,,", "project,proj*,Second,,,"], "First"),
        (["project,proj_a,First,,,", "project,proj_a,Second,,,"], "First"),
        (["project,proj%a,Like,,,", "project,projxa*,Under,,,"], "untagged"),
        (["project,PROJ_A,Case,,,"], "untagged"),
        (["user,proj_a,Kind,,,"], "untagged"),
    ],
)
def test_a_key_goes_before_a_user_before_a_project_and_exact_before_pattern(
    lines: list[str], team: str, one_cost: Settings
) -> None:
    """Of all tags that fit, one counts: by kind, then exact, then the first line; only * stands for other text."""
    tag(one_cost, *lines)
    assert teams(one_cost) == {team: Decimal("2.5")}


def test_tags_hold_from_their_first_day_to_before_their_last(data_dir: Path) -> None:
    """valid_from is inclusive, valid_to exclusive; a day outside both is untagged."""
    _, settings = billed(data_dir, *([cost("1", **WHO)] for _ in range(4)))
    second, third, fourth = (FIRST + timedelta(days=n) for n in (1, 2, 3))
    tag(settings, f"project,proj_a,Early,,{second},{third}", f"project,proj_a,Late,,{fourth},")
    found = rows(settings, "select date, team from marts.cost_by_team order by date")
    assert found == [(FIRST, "untagged"), (second, "Early"), (third, "untagged"), (fourth, "Late")]


def test_a_name_or_an_email_of_the_day_matches_too(data_dir: Path) -> None:
    """People write names: the one valid on the day counts, a renamed project changes its team with its name."""
    _, settings = billed(data_dir, *([cost("1", project_id="p"), cost("8", user_id="u")] for _ in range(2)))
    renamed = datetime(2026, 11, 1)  # noqa: DTZ001 - stored without a zone
    name_them(
        settings, "projects",
        {"id": "p", "name": "search beta", "valid_from": datetime(2026, 1, 1), "valid_to": renamed},  # noqa: DTZ001
        {"id": "p", "name": "ranking", "valid_from": renamed},
    )  # fmt: skip
    name_them(settings, "users", {"id": "u", "name": "Ann", "email": "ann@example.com", "valid_from": renamed})
    tag(settings, "project,search*,Search,,,", "project,ranking,Ranking,,,", "user,*@example.com,Staff,,,")
    assert teams(settings) == {"Search": Decimal(1), "Ranking": Decimal(1), "Staff": Decimal(16)}


def test_team_and_cost_centre_come_from_one_line(data_dir: Path) -> None:
    """A key's tag without a cost centre does not borrow the project's."""
    _, settings = billed(data_dir, [cost("1", **WHO), cost("2", project_id="proj_a")])
    tag(settings, "project,proj_a,Project,CC-1,,", "api_key,key_a,Key,,,")
    found = rows(settings, "select team, cost_center, amount from marts.cost_by_team order by team")
    assert found == [("Key", None, Decimal(1)), ("Project", "CC-1", Decimal(2))]


def test_cost_by_team_adds_up_to_the_bill(settings: Settings, still_world: World) -> None:
    """Per day and currency, tagged and untagged costs are the bill, to the last digit."""
    still_world.sync(settings, last_days(4))
    project, key = rows(
        settings, "select min(project_id), max(api_key_id) from marts.cost_allocated where api_key_id is not null"
    )[0]
    tag(settings, f"project,{project},One,CC-1,,", f"api_key,{key},Two,,,", "user,user*,Three,CC-3,2026-11-19,")
    amounts = rows(settings, "select date, currency, sum(amount) from usage.costs group by all order by all")
    by_team = "select date, currency, sum(amount) from marts.cost_by_team group by all order by all"
    assert rows(settings, by_team) == amounts
    assert len(teams(settings)) >= 3


def test_credits_and_currencies_keep_apart_within_a_team(data_dir: Path) -> None:
    """A team has a row per currency; credits lower it."""
    _, settings = billed(data_dir, [cost("5", **WHO), cost("-1", line_item="credit", **WHO), cost("7", "eur", **WHO)])
    tag(settings, "project,proj_a,A,,,")
    found = rows(settings, "select team, currency, amount from marts.cost_by_team order by currency")
    assert found == [("A", "eur", Decimal(7)), ("A", "usd", Decimal(4))]


@pytest.mark.slow
def test_changed_tags_recompute_what_they_touch_and_equal_a_full_build(data_dir: Path, tmp_path: Path) -> None:
    """New tags change cost_by_team alone, to what a warehouse that always had them holds; the same ones do nothing."""
    service, settings = billed(data_dir, *([cost(str(n), **WHO)] for n in range(3)))
    tag(settings, "project,proj_a,Before,,,")
    lines = ("project,proj_a,After,CC,2026-11-01,", "user,user_*,User,,,2026-11-01")
    tag(settings, *lines)
    assert {name for name, days in _built(settings).items() if days} == set()
    put_bills(service, [cost("9", **WHO)], first=FIRST + timedelta(days=1))
    service.now += timedelta(hours=1)
    sync_bills(service, settings, 3)
    _, fresh = billed(tmp_path / "fresh", [cost("0", **WHO)], [cost("9", **WHO)], [cost("2", **WHO)])
    tag(fresh, *lines)
    assert everything(settings) == everything(fresh)
    assert teams(settings) == {"User": Decimal(0), "After": Decimal(11)}
    (settings.data_dir / "tags.csv").write_text("\n".join([HEADER, *lines, "project,none,X,,2026-11-02,"]) + "\n")
    assert {name: days for name, days in _built(settings).items() if days} == {"cost_by_team": (date(2026, 11, 2),)}
    (settings.data_dir / "tags.csv").unlink()
    assert {name for name, days in _built(settings).items() if days} == {"cost_by_team"}
    assert set(teams(settings)) == {"untagged"}


def _built(settings: Settings) -> dict[str, tuple[date, ...]]:
    return {build.mart: build.days for build in refresh(settings).builds}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: column 'kind' is missing; the columns are kind,match,team,cost_center"),
        ("kind,match\n", "line 1: column 'team' is missing"),
        ("kind,match,team,colour\n", "line 1: column 'colour' is not known"),
        ("kind,match,team,team\n", "line 1: column 'team' is named twice"),
        (f"{HEADER}\n\nmodel,gpt,A,,,\n", "line 3, column kind: 'model': Input should be 'project', "),
        (f"{HEADER}\nproject,,A,,,\n", "line 2, column match: is empty. A right line is"),
        (f"{HEADER}\nproject,p,A,,1.5.2026,\n", "line 2, column valid_from: '1.5.2026': Input should be a valid date"),
        (f"{HEADER}\nproject,p,A,,2026-02-01,2026-02-01\n", "line 2: valid_to must be after valid_from"),
        (f"{HEADER}\nproject,p,A\n", "line 2: 3 cells where the first line names 6 columns"),
        (f'{HEADER}\nproject,"p,A,,,\n', "is not CSV text"),
    ],
)
def test_a_wrong_file_is_one_clear_error_and_changes_nothing(text: str, says: str, data_dir: Path) -> None:
    """The message names file, line, column and the way out; the tags that were there stay."""
    lake, file = Lake(data_dir / "lake"), data_dir / "tags.csv"
    data_dir.mkdir()
    file.write_text("match,kind,team\np,project,Kept\n", encoding="utf-8-sig")
    assert load_tags(lake, data_dir)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FixConfig) as wrong:
        load_tags(lake, data_dir)
    assert str(wrong.value).startswith(f"{file}")
    assert says in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert read_dim(lake, TAGS)["team"].to_pylist() == ["Kept"]


def test_a_file_that_is_not_text_is_refused(data_dir: Path) -> None:
    """A spreadsheet saved under the name is refused with the way out."""
    data_dir.mkdir()
    (data_dir / "tags.csv").write_bytes(b"\xff\xfe\x00k")
    with pytest.raises(FixConfig, match="save it as CSV, UTF-8"):
        load_tags(Lake(data_dir / "lake"), data_dir)


def test_loading_the_same_file_again_writes_nothing(data_dir: Path) -> None:
    """The dimension is replaced only when the lines changed; without a file and rows nothing is created."""
    data_dir.mkdir()
    lake = Lake(data_dir / "lake")
    assert not load_tags(lake, data_dir)
    assert not (data_dir / "lake" / "dims" / "tags").exists()
    (data_dir / "tags.csv").write_text(f"{HEADER}\nproject,a*b_c,A,,,\n", encoding="utf-8")
    assert load_tags(lake, data_dir)
    assert not load_tags(lake, data_dir)
    assert read_dim(lake, TAGS)["pattern"].to_pylist() == ["a%b\\_c"]
