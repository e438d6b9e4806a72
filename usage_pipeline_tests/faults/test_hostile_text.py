"""Upstream text is data everywhere: it comes back exactly, or is shown escaped, or is refused by name; never obeyed.

The rule: the warehouse, --json and --csv into a file hold every text exactly; on a terminal, in tables, messages and
logs each character that is not printable is shown as its escape. Half of a surrogate pair is refused: it is no text.
"""

import ast
import csv
import io
import json
import logging
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

import usage_pipeline
from usage_pipeline.check import run_checks
from usage_pipeline.cli import process
from usage_pipeline.cli.check import run_check
from usage_pipeline.cli.console import say, text
from usage_pipeline.cli.explain import run_explain
from usage_pipeline.cli.sql import run_sql
from usage_pipeline.cli.streams import Harmless, complain
from usage_pipeline.cli.sync import complaints
from usage_pipeline.cli.tables import print_table
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import CheckFailed, FixConfig, SourceChanged
from usage_pipeline.exports import export_focus
from usage_pipeline.name_lists import NAME_LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import SyncReport, choose_endpoints, sync
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import everything, rows

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600  # 2026-11-02
DAY = 86400
WINDOW = Window.of_times(FIRST, FIRST + 4 * DAY)
HOSTILE = [
    "'; drop table usage.costs; --",
    'double "quotes" "',
    "back\\slash\\",
    "new\nline",
    "carriage\r\nreturn",
    "tab\tbed",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\x9b31mC1",
    "\u202egnp.exe",
    "\u2066isolate\u2069",
    "nul\x00byte",
    "bell\x07\x08\x7f",
    "[bold]markup[/bold] [/]",
    "\\[bold]",
    ":rocket: :warning:",
    "../../etc/passwd",
    "/etc/passwd",
    "%2e%2e%2f%00",
    "=1+1",
    "@SUM(A1)",
    "{}$1?%s{0}{{",
    "<script>alert(1)</script>",
    "![x](https://beacon.example/x.png)",
    "${HOME} `id` $(id)",
    "e\u0301 and é",
    "👩‍👩‍👧 and שלום",
    "CON",
    " ",
    "null",
    "\ufeffbom",
    "line\u2028separator",
    "x" * 10_000,
]
FIELD = "\x1b[2J'; drop--\u202e"


class Hostile(Played):
    """A service whose every text is hostile, names of projects included."""

    def __init__(self) -> None:
        super().__init__(NOW)
        for n in range(4):
            self.put("completions", FIRST + n * DAY, *map(self.completion, HOSTILE))
            self.put("costs", FIRST + n * DAY, *(self.cost(one, n + 1) for one in HOSTILE))

    @staticmethod
    def completion(one: str) -> dict[str, Any]:
        """Usage all of whose dimensions are the text, with a field nobody knows."""
        row = ENDPOINTS["completions"]
        dims = {d.name: one for d in row.dimensions if d.kind == "text"}
        counts = {"input_tokens": 1, "output_tokens": 1, "num_model_requests": 1}
        return {"object": row.result_object, **dims, **counts, FIELD: {one: [one]}}

    @staticmethod
    def cost(one: str, value: int) -> dict[str, Any]:
        """A billed row all of whose dimensions are the text."""
        row = ENDPOINTS["costs"]
        dims = {d.name: one for d in row.dimensions if d.kind == "text"}
        amount = {"value": value, "currency": "usd" if value < 4 else one}
        return {"object": row.result_object, **dims, "amount": amount}

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Projects are named by their ids."""
        if request.url.path != "/v1/organization/projects":
            return super().handle(request)
        projects = [
            {"object": "organization.project", "id": one, "name": one, "created_at": 1, "status": "active"}
            for one in HOSTILE
            if len(one) < 4096
        ]
        last = projects[-1]["id"]
        return httpx.Response(200, json={"object": "list", "data": projects, "has_more": False, "last_id": last})

    def sync_all(self, settings: Settings) -> SyncReport:
        """Both endpoints and the projects, a minute later."""
        self.now += timedelta(minutes=1)
        return sync(
            settings,
            choose_endpoints(["completions", "costs"]),
            WINDOW,
            lists=[NAME_LISTS["projects"]],
            clock=lambda: self.now,
            client_factory=self.client,
        )


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, SyncReport]:
    """A warehouse full of it, and the report of its sync."""
    settings = played_settings(tmp_path_factory.mktemp("hostile") / "data")
    report = Hostile().sync_all(settings)
    assert not report.failed, [str(one.error) for one in report.failed]
    assert report.refresh_error is None
    assert [one.error for one in report.names] == [None]
    return settings, report


@pytest.fixture
def settings(synced: tuple[Settings, SyncReport], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The warehouse, with the environment of a command that asks it."""
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(synced[0].data_dir))
    return synced[0]


def harmless(shown: str) -> bool:
    """Whether nothing in the text would steer a terminal."""
    return all(char.isprintable() or char == "\n" for char in shown)


def asked(capsys: pytest.CaptureFixture[str], query: str, **form: bool) -> str:
    """What the `sql` command prints."""
    run_sql(query, **{"as_json": False, "as_csv": False, **form})
    return capsys.readouterr().out


def test_c18_c20_every_text_comes_back_exactly(settings: Settings) -> None:
    """Each dimension of usage and costs, unknown fields, and the names of projects, hold the very texts."""
    for table in ("completions", "costs"):
        for one in (d for d in ENDPOINTS[table].dimensions if d.kind == "text"):
            found = rows(settings, f"select distinct {one.name} from usage.{table}")
            assert {value for (value,) in found} == set(HOSTILE), one.name
    extras = [json.loads(value) for (value,) in rows(settings, "select distinct extras from usage.completions")]
    assert sorted(next(iter(one[FIELD])) for one in extras) == sorted(HOSTILE)
    assert all(one[FIELD] == {key: [key] for key in one[FIELD]} for one in extras)
    assert set(rows(settings, "select id, name from dims.projects")) == {
        (one, one) for one in HOSTILE if len(one) < 4096
    }


def test_f09_f10_nothing_was_obeyed_by_sql_or_paths(settings: Settings) -> None:
    """Schema, tables and files are those of a warehouse of ordinary names: no path holds upstream's text."""
    tables = rows(settings, "select table_schema || '.' || table_name from information_schema.tables")
    assert {f"usage.{name}" for name in ENDPOINTS} <= {name for (name,) in tables}
    for path in settings.data_dir.rglob("*"):
        name = str(path.relative_to(settings.data_dir))
        assert harmless(name)
        assert not any(bad in name for bad in ("passwd", "drop", "script", "bold", "rocket")), name
    assert not (settings.data_dir.parent / "etc").exists()


@pytest.mark.slow
def test_reading_it_again_changes_nothing_and_restates_exactly(tmp_path: Path) -> None:
    """The same texts again are no change; another value is a restatement under the same keys."""
    settings, service = played_settings(tmp_path), Hostile()
    service.sync_all(settings)
    before = everything(settings)
    assert {one.outcome for one in service.sync_all(settings).endpoints} == {"unchanged"}
    assert everything(settings) == before
    service.put("costs", FIRST, *(service.cost(one, 2) for one in HOSTILE))
    assert service.sync_all(settings).endpoints[1].total("updated") == len(HOSTILE)
    keys = rows(settings, "select key->>'project_id' from meta.restatements where endpoint = 'costs'")
    assert sorted(value for (value,) in keys) == sorted(HOSTILE)


@pytest.mark.usefixtures("settings")
def test_json_and_csv_are_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed for programs parses back to the very texts; JSON steers no terminal on the way."""
    query = "select distinct project_id as id from usage.costs"
    as_json = asked(capsys, query, as_json=True)
    assert {one["id"] for one in json.loads(as_json)} == set(HOSTILE)
    assert harmless(as_json)
    as_csv = list(csv.reader(io.StringIO(asked(capsys, query, as_csv=True), newline="")))
    assert {cell for (cell,) in as_csv[1:]} == set(HOSTILE)


@pytest.mark.usefixtures("settings")
def test_f19_tables_show_escapes_and_obey_none(capsys: pytest.CaptureFixture[str]) -> None:
    """In a table every text is in its shown form, column names too: no control character, markup or emoji code."""
    short = [one for one in HOSTILE if len(one) < 150]
    shown = asked(capsys, "select distinct project_id from usage.costs where length(project_id) < 150")
    assert harmless(shown)
    for one in short:
        assert text(one) in shown
    red = "select project_id as p from usage.costs where contains(project_id, 'red')"
    pivoted = asked(capsys, f"pivot ({red}) on p using count(*)")
    assert harmless(pivoted)
    assert "\\x1b[31mred" in pivoted


@pytest.mark.parametrize("value", HOSTILE[:-1])
def test_f19_a_cell_is_shown_as_it_is(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets, backslashes and emoji codes of a value, a column and a title are printed, not interpreted."""
    print_table(None, [value], [[value]])
    shown = capsys.readouterr().out
    assert shown.count(text(value)) >= 2
    assert harmless(shown)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]], ids=["table", "json", "csv"])
def test_f19_a_terminal_gets_no_control_characters(form: list[str]) -> None:
    """On a real terminal, none of the three forms sends what upstream wrote into it unescaped."""
    ours, theirs = pty.openpty()
    query = (
        r"select distinct project_id as x from usage.costs where length(x) < 100 and not contains(x, 'l' || chr(10))"
    )
    command = [sys.executable, "-m", "usage_pipeline", "sql", query, *form]
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, env=environment, stdout=theirs, stdin=theirs) as process:
        os.close(theirs)
        got = b""
        while chunk := _read(ours):
            got += chunk
    os.close(ours)
    assert process.returncode == 0
    shown = got.decode().replace("\r\n", "\n")
    assert "red" in shown
    assert harmless(shown), [c for c in shown if not harmless(c)]


def _read(terminal: int) -> bytes:
    """What comes next; a terminal nobody writes to any more is an error on Linux."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("by", ["project", "model", "api_key", "user"])
def test_explain_names_them_harmlessly(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`explain` adds up over hostile names, exact in --json, shown in the table and its sentences."""
    windows = {"first": "2026-11-02..2026-11-03", "second": "2026-11-03..2026-11-04", "currency": "usd"}
    run_explain(**windows, by=by, label=None, as_json=True)
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["in_total"]["change"] == str(len(HOSTILE))
    if by == "project":
        assert {one["item"] for one in found["in_total"]["items"]} == set(HOSTILE)
    run_explain(**windows, by=by, label=None, as_json=False)
    shown = capsys.readouterr()
    assert harmless(printed.out + printed.err + shown.out + shown.err)


def test_check_tells_its_findings_harmlessly(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Findings that quote upstream's text (a currency of the attacker's, an unknown model) are printed escaped."""
    assert run_checks(settings, NOW)
    for as_json in (True, False):
        with pytest.raises(CheckFailed):
            run_check(labels=None, is_strict=True, is_against_service=False, as_json=as_json, is_quiet=False)
        shown = capsys.readouterr()
        assert harmless(shown.out + shown.err)


def test_f18_an_export_holds_them_and_no_formula(settings: Settings) -> None:
    """FOCUS files hold every text exactly, in CSV with a ' before what a spreadsheet would compute."""
    done = export_focus(settings, "2026-11", file_format="parquet", version="1.4", output=None, is_partial=True)
    assert set(pq.read_table(done.path)["SubAccountId"].to_pylist()) == set(HOSTILE)
    done = export_focus(settings, "2026-11", file_format="csv", version="1.4", output=None, is_partial=True)
    with done.path.open(encoding="utf-8", newline="") as file:
        found = {row["SubAccountId"] for row in csv.DictReader(file)}
    assert {one.removeprefix("'") if one[1:2] in tuple("=+-@\t\r\n") else one for one in found} == set(HOSTILE)
    assert not any(one.startswith(("=", "+", "@", "\t", "\r", "\n")) for one in found)


def test_f19_warnings_and_errors_are_one_harmless_line_each(
    synced: tuple[Settings, SyncReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """What a sync says of unknown fields and new values, and an error that quotes data, cannot forge a line."""
    for line in complaints(synced[1]):
        say(line)
    said = capsys.readouterr().err
    assert "unknown field" in said
    assert harmless(said)
    assert all(line.startswith("warning: ") for line in said.splitlines())
    complain("a\nb \x1b[2J \u202e")
    assert capsys.readouterr().err == "usage-pipeline: a b \\x1b[2J \\u202e\n"
    record = logging.LogRecord("x", logging.ERROR, "", 0, "%s failed\n%s", ("\x1b[2J", "line \x9b"), None)
    assert Harmless("%(levelname)s %(message)s").format(record) == "ERROR \\x1b[2J failed\nline \\x9b"


def test_a_query_that_fails_on_data_quotes_it_harmlessly(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine quotes the value it could not convert: it reaches the terminal escaped."""
    query = "select project_id::int from usage.costs where contains(project_id, 'red')"
    with pytest.raises(FixConfig, match="red"):
        rows(settings, query)
    monkeypatch.setattr(sys, "argv", ["usage-pipeline", "sql", query])
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    with pytest.raises(SystemExit):
        process.run()
    shown = capsys.readouterr().err
    assert "red" in shown
    assert harmless(shown)
    assert len(shown.splitlines()) == 1


def test_c19_half_a_surrogate_pair_is_refused_by_name(tmp_path: Path) -> None:
    """No UTF-8 can hold it, so the read fails with its path, and what was stored stays."""
    settings, service = played_settings(tmp_path), Played(NOW)
    result = {"object": ENDPOINTS["vector_stores"].result_object, "project_id": "p", "usage_bytes": 1}
    service.put("vector_stores", FIRST, result)
    service.sync(settings, WINDOW, "vector_stores")
    before = everything(settings)
    for broken in ({"project_id": "a\udfff"}, {"news": {"deep": ["\ud83d"]}}, {"\udc00": 1}):
        service.put("vector_stores", FIRST, result | broken)
        service.now += timedelta(minutes=1)
        endpoints = choose_endpoints(["vector_stores"])
        report = sync(settings, endpoints, WINDOW, clock=lambda: service.now, client_factory=service.client)
        error = report.endpoints[0].error
        assert isinstance(error, SourceChanged)
        assert "half of a surrogate pair" in str(error)
        assert harmless(str(error))
    assert everything(settings) == before


def test_f17_nothing_in_dagster_is_rendered_as_markup() -> None:
    """No asset, check or sensor gives Dagster markdown, a link or a notebook: remote images in it would be fetched.

    But for pictures.py, which draws days and numbers and gets no text of upstream's (dagster/test_pictures.py).
    """
    for path in sorted((Path(usage_pipeline.__file__).parent / "defs").glob("*.py")):
        if path.name == "pictures.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("MetadataValue"):
                assert node.attr not in {"md", "url", "notebook"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                assert name not in {"MarkdownMetadataValue", "UrlMetadataValue"}, f"{path}:{node.lineno}"
