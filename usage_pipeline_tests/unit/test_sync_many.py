"""Many organizations in one lake: each as if it were alone, whatever befalls the others."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch  # of the environment alone, for fixtures that tests share

import pytest
import time_machine
from typer.testing import CliRunner, Result

from usage_pipeline.cli.main import app
from usage_pipeline.doctor import doctor
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import CheckFailed, FixConfig
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.marts.tables import mart_schema
from usage_pipeline.name_lists import LISTS
from usage_pipeline.names import choose_lists
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints
from usage_pipeline.sync_many import ManyReport, sync_many
from usage_pipeline_tests.many import KEYS, Many, serving_many
from usage_pipeline_tests.world import NOW, everything, last_days

ALL = {"acme": "ACME_KEY", "twin": "TWIN_KEY", "down": "DOWN_KEY", "stranger": "STRANGER_KEY", "keyless": "NO_KEY"}
STRANGER = "sk-admin-stranger-1c2d3e4f"


@pytest.fixture(scope="module")
def many() -> Iterator[Many]:
    """Three organizations, served."""
    with serving_many(NOW) as served:
        yield served


def _synced(
    many: Many, folder: Path, labels: dict[str, str], days: int, names: list[str] | None = None
) -> tuple[list[Settings], ManyReport]:
    folder.mkdir()
    with patch.dict(os.environ, many.configure(folder, labels, STRANGER_KEY=STRANGER)):
        members = many.members(folder)
        report = sync_many(
            members,
            choose_endpoints(names),
            last_days(days),
            lists=choose_lists(names),
            clock=many.clock,
            client_factory=many.client,
        )
    return members, report


@pytest.fixture(scope="module")
def together(many: Many, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Settings], ManyReport]:
    """Five organizations synced at once: two fare well, one is down, one's key is refused, one has none."""
    return _synced(many, tmp_path_factory.mktemp("many") / "together", ALL, 2)


def _of(rows: dict[str, list[tuple[Any, ...]]], label: str) -> dict[str, list[tuple[Any, ...]]]:
    return {table: [row for row in found if label in row] for table, found in rows.items()}


def test_what_befalls_one_is_no_others_trouble(together: tuple[list[Settings], ManyReport]) -> None:
    """An outage, a refused and a missing key fail their own organization; the others are read and published."""
    _, report = together
    by_label = {one.organization: one for one in report.organizations}
    assert [label for label, one in by_label.items() if not one.errors] == ["acme", "twin"]
    assert all("503" in str(e) or "429" in str(e) or "500" in str(e) for e in by_label["down"].errors)
    assert len(by_label["down"].errors) == len(ENDPOINTS) + len(LISTS)
    assert all("the key" in str(error) for error in by_label["stranger"].errors)
    assert [str(e) for e in by_label["keyless"].errors] == [
        "organization keyless: NO_KEY is not set: put the organization's admin key in the environment or in .env "
        "under this name."
    ]
    assert (report.exit_code, report.refresh_error) == (1, None)
    assert report.refreshed is not None


@pytest.mark.slow
def test_twins_with_the_same_ids_and_names_never_mix(
    many: Many, together: tuple[list[Settings], ManyReport], tmp_path: Path
) -> None:
    """Beside a twin of the same projects, keys and users, every published row of acme is as if it were alone."""
    members, _ = together
    alone, _ = _synced(many, tmp_path / "alone", {"acme": "ACME_KEY"}, 2)
    schemas = ("usage", "dims", "marts")
    shared, own = everything(members[0], schemas), everything(alone[0], schemas)
    assert _of(shared, "acme") == _of(own, "acme")
    assert {len(rows) for rows in _of(shared, "twin").values()} != {0}
    assert not any(label in row for rows in shared.values() for row in rows for label in ("down", "keyless"))


def test_a_mart_of_the_same_days_is_computed_for_all_at_once(together: tuple[list[Settings], ManyReport]) -> None:
    """Organizations of which the same days are new share a mart's query and commit."""
    (acme, *_), _ = together
    lake = Lake(acme.lake_dir)
    for name in load_marts():
        at = lake.mart(name, mart_schema(name)).open()
        assert at is not None
        assert at.version() == 1, name


def test_no_organizations_key_is_in_any_file_or_message(together: tuple[list[Settings], ManyReport]) -> None:
    """Neither what was stored nor any error holds one of the keys."""
    members, report = together
    keys = [*KEYS.values(), STRANGER]
    said = [str(error) for one in report.organizations for error in one.errors]
    assert not any(key in text for key in keys for text in said)
    for path in members[0].data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(key.encode() in content for key in keys), path


def test_when_nobody_can_begin_that_is_a_matter_of_configuration(many: Many, tmp_path: Path) -> None:
    """Without any key the exit code is 2, as of one organization; nothing was asked or published."""
    _, report = _synced(many, tmp_path / "none", {"a": "NO_KEY", "b": "NO_OTHER_KEY"}, 1)
    assert report.exit_code == 2
    assert report.refreshed is None


@pytest.fixture
def there(
    many: Many, together: tuple[list[Settings], ManyReport], monkeypatch: pytest.MonkeyPatch
) -> Iterator[CliRunner]:
    """Commands in the folder of the five, at their time."""
    folder = together[0][0].data_dir.parent
    monkeypatch.chdir(folder)
    for name, value in many.configure(folder, ALL, STRANGER_KEY=STRANGER).items():
        monkeypatch.setenv(name, value)
    with time_machine.travel(NOW, tick=False):
        yield CliRunner()


def _said(result: Result) -> Any:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.stdout)


def test_a_sync_of_one_leaves_the_others_alone_and_says_whose_trouble_it_is(there: CliRunner) -> None:
    """`--organization` is repeatable; each line on stderr begins with whose it is, once for a key; exit code 1."""
    asked = ["--organization", "keyless", "--organization", "acme", "--organization", "keyless"]
    result = there.invoke(app, ["sync", "--endpoint", "costs", "--since", "2026-11-20", *asked, "--json"])
    found = _said(result)["organizations"]
    assert [(one["organization"], len(one["endpoints"])) for one in found] == [("keyless", 0), ("acme", 1)]
    assert found[1]["endpoints"][0]["outcome"] == "unchanged"
    assert result.stderr.startswith("usage-pipeline: keyless: NO_KEY is not set")
    assert (len(result.stderr.splitlines()), result.exit_code) == (1, 1)
    table = there.invoke(app, ["sync", "--endpoint", "costs", "--since", "2026-11-20", "--organization", "acme"])
    assert table.exit_code == 0
    assert [word for word in ("organization", "acme") if word in table.stdout] == ["organization", "acme"]


COMMANDS = ("sync", "plan", "gaps", "status", "check", "doctor", "report", "explain", "export focus")
_NEEDED = {"explain": ["--from", "2026-11-19", "--to", "2026-11-20"], "export focus": ["--month", "2026-11"]}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_label_is_one_error_with_those_there_are(there: CliRunner, command: str) -> None:
    """Every command that takes a label refuses one that is not in the file, before anything else."""
    result = there.invoke(app, [*command.split(), *_NEEDED.get(command, []), "--organization", "acne"])
    assert isinstance(result.exception, FixConfig)
    known = "organization 'acne' is not in usage_pipeline.toml: there is acme, twin, down, stranger, keyless."
    assert str(result.exception) == known


def test_plan_status_and_gaps_tell_whose_and_how_to_ask_for_it(there: CliRunner) -> None:
    """Each organization of the file has its rows, also one nothing is known of; advice names it."""
    plans = _said(there.invoke(app, ["plan", "--endpoint", "costs", "--json"]))
    why = {one["organization"]: one["why"] for one in plans}
    assert why["acme"] == {"never read": 1, "still settling": 2}
    assert list(why) == list(ALL)
    states = _said(there.invoke(app, ["status", "--json", "--organization", "twin", "--organization", "down"]))
    assert {one["organization"]: one["days"] for one in states} == {"down": 0, "twin": 2}
    assert len(states) == 2 * len(ENDPOINTS)
    assert _said(there.invoke(app, ["gaps", "--json"])) == []


def test_check_judges_each_and_names_who_was_never_read(there: CliRunner) -> None:
    """One organization without data is a finding of its own and hides no other's."""
    result = there.invoke(app, ["check", "--json"])
    assert isinstance(result.exception, CheckFailed)
    found = {(one["organization"], one["check"]): one for one in json.loads(result.stdout)["findings"]}
    assert found["down", "coverage"]["message"] == (
        "nothing of organization down was ever read: run `usage-pipeline sync --organization down`."
    )
    assert ("acme", "coverage") not in found
    fine = there.invoke(app, ["check", "--json", "--organization", "acme"])
    assert {one["organization"] for one in _said(fine)["findings"]} <= {"acme"}


def test_what_is_of_one_organization_asks_which(there: CliRunner) -> None:
    """Explain and report need a label where there are several; the report goes into the organization's folder."""
    for command in ("explain", "report"):
        result = there.invoke(app, [command, *_NEEDED.get(command, [])])
        assert str(result.exception) == (
            "say which organization: --organization with one of acme, twin, down, stranger, keyless."
        )
    report = _said(there.invoke(app, ["report", "--json", "--organization", "twin"]))
    assert report["path"].endswith("/data/exports/twin/report.html")
    explained = there.invoke(app, ["explain", *_NEEDED["explain"], "--organization", "acme", "--json"])
    assert _said(explained)["from"]["known_days"] == 1
    unknown = ["explain", "--from", "2026-11-18", "--to", "2026-11-20", "--organization", "acme"]
    assert "usage-pipeline sync --organization acme --since 2026-11-18" in str(there.invoke(app, unknown).exception)


def test_a_focus_export_is_of_one_or_of_all(there: CliRunner) -> None:
    """Without a label every organization's rows are in one file, by BillingAccountId; with one its own."""
    month = ["export", "focus", "--month", "2026-11", "--partial", "--json"]
    all_rows = _said(there.invoke(app, month))["rows"]
    one = _said(there.invoke(app, [*month, "--organization", "acme"]))
    assert one["path"].endswith("/exports/acme/focus-1.4-2026-11.parquet")
    assert all_rows == 2 * one["rows"] > 0
    assert list(one["missing"]) == ["acme"]


@pytest.mark.slow
@pytest.mark.marts("usage_daily")
def test_the_doctor_reads_again_with_the_keys_of_those_who_lost_it(many: Many, tmp_path: Path) -> None:
    """What twin lost comes back when twin's key may be used, and not by asking for acme."""
    pair = {"acme": "ACME_KEY", "twin": "TWIN_KEY"}
    (acme, twin), _ = _synced(many, tmp_path / "pair", pair, 1, ["images"])
    for path in landed_files(twin.raw_dir):
        if "twin" in str(path.relative_to(twin.raw_dir)):
            path.unlink()
    others = doctor(acme, client_factory=many.client, members=[acme], clock=many.clock)
    assert [one.organization for one in others.missing] == ["twin"]
    assert others.lost
    assert doctor(acme, client_factory=many.client, members=[acme, twin], clock=many.clock).is_cured
