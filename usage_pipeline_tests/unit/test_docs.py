"""What README and the pages say is so: tables, queries, commands, settings, links, messages, the first screen."""

import ast
import importlib.util
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from usage_pipeline import settings as settings_module
from usage_pipeline.cli.main import app
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.docs import rendered
from usage_pipeline_tests.pages import (
    ANALYSTS,
    ENGINEERS,
    OPERATORS,
    PAGES,
    README,
    ROOT,
    anchors,
    bill,
    fences,
    links,
    not_there,
    read,
    run_steps,
    steps,
    without_bill,
)
from usage_pipeline_tests.world import NOW, World, last_days, rows

TEXT = read(README)
QUERIES = [query for page in PAGES for query in fences(without_bill(read(page)), "sql")]
STORIES = [page for page in PAGES if fences(without_bill(read(page)), "console")]
MAY_BE_EMPTY = ("meta.restatements",)  # a world that stands still restates nothing
FIRST_SCREEN = "\n".join(TEXT.splitlines()[:36])


def test_the_tables_are_those_of_the_endpoint_table() -> None:
    """The analysts' tables are what the package's facts give (else: python -m usage_pipeline_tests.docs)."""
    assert "<!-- generated: tables" in read(ANALYSTS)
    assert rendered(read(ANALYSTS)) == read(ANALYSTS)


def test_the_first_screen_shows_the_two_commands_and_a_picture() -> None:
    """A newcomer sees both commands, each with its own set-up, and what comes of it, before anything else."""
    assert "$ pip install uv && uv run usage-pipeline demo" in FIRST_SCREEN
    assert "$ pip install uv && uv run pytest" in FIRST_SCREEN
    assert "![" in FIRST_SCREEN
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "\npip install uv && uv run pytest\n" in ci
    assert "\nuv run pytest -m slow\n" in ci


def test_the_readme_is_short() -> None:
    """README stays what a newcomer reads; what is for analysts, operators or engineers is on their page."""
    assert len(TEXT.splitlines()) <= 170


@pytest.fixture(scope="module")
def warehouse(still_world: World, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A synced fortnight, with names, for the queries and for the stories to begin with."""
    settings = still_world.settings(tmp_path_factory.mktemp("pages") / "data")
    still_world.sync(settings, last_days(14), lists=list(LISTS.values()))
    return settings


@pytest.fixture
def checkout(warehouse: Settings, tmp_path: Path) -> Path:
    """A folder with a copy of the warehouse as `data`, as an installation has it."""
    shutil.copytree(warehouse.data_dir, tmp_path / "data")
    refresh(warehouse.model_copy(update={"data_dir": tmp_path / "data"}))
    return tmp_path


def test_there_are_ten_queries_and_ten_questions() -> None:
    """Analysts are promised twenty queries: ten to begin with, and ten about the bill with answers."""
    ten = read(ANALYSTS).partition("## Ten queries\n")[2].partition("\n## ")[0]
    assert (len(fences(ten, "sql")), len(fences(bill(read(ANALYSTS)), "sql"))) == (10, 10)


@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_every_query_runs_and_answers(query: str, warehouse: Settings) -> None:
    """Each query of the pages runs on a synced warehouse and finds rows."""
    query = query.replace("current_date", "date '2026-11-20'")  # the warehouse's today
    found = rows(warehouse, query)
    assert found or any(name in query for name in MAY_BE_EMPTY)


@pytest.mark.slow
@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.stem)
def test_every_console_block_is_run(page: Path, checkout: Path, still_world: World) -> None:
    """A page's commands, one after another in one shell, end as they say and print what is shown of them."""
    asked = steps(fences(without_bill(read(page)), "console"))
    environment = {
        "OPENAI_ADMIN_KEY": "sk-admin-test",
        "OPENAI_BASE_URL": still_world.base_url,
        "USAGE_PIPELINE_START_DATE": "2026-11-07",
    }
    done = run_steps(asked, checkout, environment, NOW)
    assert len(done) == len(asked), "every command came to its end"
    for step, (code, output) in zip(asked, done, strict=True):
        assert code == step.code, f"{step.command}\n{output}"
        assert not_there(step.shown, output) is None, f"{step.command}\n{output}"


def test_an_output_that_is_not_there_is_noticed() -> None:
    """Lines shown must be there in their order; `...` stands for anything, and nothing else does."""
    (step,) = steps(["$ verify  # exit code 3\nfound: ...\n  ... more ...\nlast\n"])
    assert (step.command, step.code) == ("verify  # exit code 3", 3)
    assert not_there(step.shown, "first\nfound: 7 files\nbetween\nlast\n") is None
    assert not_there(step.shown, "last\nfound: 7 files\n") == "last"
    assert not_there(step.shown, "was found: 7\nlast\n") == "found: ..."
    with pytest.raises(ValueError, match="begins with"):
        steps(["uv run usage-pipeline status\n"])


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if fences(read(page), "python")], ids=lambda page: page.stem)
def test_every_python_block_runs(page: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python example of a page runs where the warehouse is."""
    monkeypatch.chdir(checkout)
    for block in fences(read(page), "python"):
        exec(compile(block, str(page), "exec"), {})  # noqa: S102 - our own page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_is_of_a_kind_that_has_a_rule(page: Path) -> None:
    """What is run and what is not is told by the fence: none is without a language that engineers.md explains."""
    text = read(page)
    known = "console|sql|python|text|sh|ini|cron|mermaid"
    opened = re.findall(r"^```(.*)$", text, re.MULTILINE)[::2]
    assert all(re.fullmatch(known, language) for language in opened), opened


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each link's file exists beside the page, and its anchor is one of that file's headings."""
    for link in links(read(page)):
        if not link.startswith("https://"):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(read(target)), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_and_module_that_is_named_exists(page: Path) -> None:
    """Paths of the repository in backticks are there, and `python -m` names modules."""
    text = read(page)
    for path in re.findall(r"`(usage_pipeline(?:_tests)?/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m\s+([\w.]+)", text):
        assert importlib.util.find_spec(module), module


def test_the_package_brings_the_pages() -> None:
    """The pages are files of the package, which the wheel holds whole."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == ["usage_pipeline"]
    assert {page.relative_to(ROOT).parts[:2] for page in PAGES[1:]} == {("usage_pipeline", "docs")}


def _messages() -> str:
    """Every text of the package's code, what varies in it as `…`."""
    found = []
    for module in sorted((ROOT / "usage_pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_what_to_do_when_quotes_the_codes_own_messages() -> None:
    """Each symptom of the operators' table is text the code has, in one message, `…` for what varies."""
    table = read(OPERATORS).partition("## What to do when\n")[2]
    symptoms = re.findall(r"^\| `(.*?)` \| ", table, re.MULTILINE)
    texts = _messages()
    assert len(symptoms) > 20
    for symptom in symptoms:
        parts = [re.escape(part.strip()) for part in symptom.split("…")]
        assert re.search("[^\n]*".join(parts), texts), symptom


def test_every_command_is_described_and_exists() -> None:
    """The command table has exactly the commands there are."""
    described = set(re.findall(r"^\| `usage-pipeline ([\w-]+)", TEXT, re.MULTILINE))
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert described == commands | {str(group.name) for group in app.registered_groups}


def test_every_setting_is_described_with_its_default() -> None:
    """The settings table has exactly the settings there are, and the defaults they have."""
    described = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", TEXT, re.MULTILINE))
    fields = {str(field.validation_alias): field.default for field in Settings.model_fields.values()}
    assert set(described) == set(fields)
    for name, default in fields.items():
        if default is not None:
            assert described[name] == f"`{default}`"
    assert settings_module._MONTHS_KEPT == 11, "README says eleven months"


def test_changes_has_a_line_for_this_version() -> None:
    """The newest entry under Changes is the version in pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert TEXT.split("## Changes\n\n- ")[1].startswith(f"{version}:")


def test_the_mart_that_is_shown_whole_is_the_one_there_is() -> None:
    """Who copies the example of a mart copies one that works."""
    mart = ROOT / "usage_pipeline" / "marts" / "cost_daily.sql"
    assert mart.read_text(encoding="utf-8") in fences(read(ENGINEERS), "sql")


def test_measurements_have_their_place() -> None:
    """Engineers find every proof's command under one heading, so that a new measurement has its place."""
    proofs = read(ENGINEERS).partition("## Proofs and measurements\n")[2]
    assert {"usage_pipeline_tests.oracle", "usage_pipeline_tests.year", "usage_pipeline_tests.crashes"} <= set(
        re.findall(r"python -m ([\w.]+)", proofs)
    )
