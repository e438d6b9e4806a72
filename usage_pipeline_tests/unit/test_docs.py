"""What the README says is so: its tables, queries, commands, settings and first screen."""

import re
import tomllib

import pytest

from usage_pipeline import settings as settings_module
from usage_pipeline.cli.main import app
from usage_pipeline.settings import Settings
from usage_pipeline_tests.docs import README, rendered
from usage_pipeline_tests.world import World, last_days, rows

TEXT = README.read_text(encoding="utf-8")
# Those about the bill are run, with their answers, by test_quarter.py.
QUERIES, QUESTIONS = (re.findall(r"```sql\n(.*?)```", part, re.DOTALL) for part in TEXT.split("## The bill, explained"))
MAY_BE_EMPTY = ("meta.restatements",)  # a world that stands still restates nothing
FIRST_SCREEN = "\n".join(TEXT.splitlines()[:36])


def test_the_tables_are_those_of_the_endpoint_table() -> None:
    """The README's tables are what the package's facts give (else: python -m usage_pipeline_tests.docs)."""
    assert rendered(TEXT) == TEXT


def test_the_first_screen_shows_the_two_commands() -> None:
    """A newcomer sees both commands, each with its own set-up, before anything else."""
    assert "$ pip install uv && uv run usage-pipeline demo" in FIRST_SCREEN
    assert "$ pip install uv && uv run pytest" in FIRST_SCREEN
    ci = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "\npip install uv && uv run pytest\n" in ci


@pytest.fixture(scope="module")
def warehouse(still_world: World, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A synced fortnight for the queries."""
    settings = still_world.settings(tmp_path_factory.mktemp("readme"))
    still_world.sync(settings, last_days(14))
    return settings


def test_there_are_ten_queries_and_ten_questions() -> None:
    """The README promises ten queries, and ten answers about the bill."""
    assert (len(QUERIES), len(QUESTIONS)) == (10, 10)


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_every_query_runs_and_answers(query: str, warehouse: Settings) -> None:
    """Each query of the README runs on a synced warehouse; those over all days find rows."""
    query = query.replace("current_date", "date '2026-11-20'")  # the warehouse's today
    found = rows(warehouse, query)
    assert found or any(name in query for name in MAY_BE_EMPTY)


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
    version = tomllib.loads((README.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert TEXT.split("## Changes\n\n- ")[1].startswith(f"{version}:")
