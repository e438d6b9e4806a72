"""The command line as people and scripts use it: output, exit codes, one-line errors."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.world import World, last_days, open_world, rows

RunResult = subprocess.CompletedProcess[str]


def run(*arguments: str, cwd: Path, **environment: str) -> RunResult:
    """The installed command in a process of its own, with nothing of this machine's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "USAGE_PIPELINE_"))}
    return subprocess.run(
        [sys.executable, "-m", "usage_pipeline", *arguments],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse of three days, at the present time, for commands that only read."""
    with open_world(now=utc_now()) as world:
        settings = world.settings(tmp_path_factory.mktemp("synced") / "my data")
        world.sync(settings, last_days(3, utc_now().date()))
    return settings


def env(settings: Settings, **more: str) -> dict[str, str]:
    """The settings as environment."""
    return {
        "OPENAI_ADMIN_KEY": "sk-admin-test",
        "OPENAI_BASE_URL": settings.base_url,
        "USAGE_PIPELINE_DATA_DIR": str(settings.data_dir),
        **more,
    }


def assert_one_line(result: RunResult, says: str, code: int) -> None:
    """The command failed with this code and one clear line, no traceback, nothing on stdout."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert re.search(says, lines[0]), lines[0]
    assert result.stdout == ""


def test_help_names_every_command(tmp_path: Path) -> None:
    """`--help` lists the commands, and needs no settings, no lake and no Dagster."""
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in (
        "demo",
        "simulate",
        "sync",
        "replay",
        "publish",
        "sql",
        "explain",
        "check",
        "status",
        "ui",
        "plan",
        "init",
    ):
        assert re.search(rf"\b{command}\b", result.stdout), command


def test_version_names_what_matters(tmp_path: Path) -> None:
    """`--version` has our version and those of the engines."""
    result = run("--version", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("usage-pipeline 0.")
    assert all(re.search(rf"{name} \d+\.", result.stdout) for name in ("dagster", "duckdb", "deltalake", "Python"))


@pytest.mark.slow
def test_a_bug_report_holds_no_secret(synced: Settings, tmp_path: Path) -> None:
    """Versions, settings and counts are in it; neither key nor webhook, nor a wrong setting's value."""
    webhook = "https://hooks.example/T0/canary"
    here = env(synced, OPENAI_ADMIN_KEY="sk-admin-canary", USAGE_PIPELINE_WEBHOOK_URL=webhook)
    result = run("bug-report", cwd=tmp_path, **here)
    report = json.loads(result.stdout)
    assert (report["settings"]["admin_key"], report["settings"]["webhook_url"]) == ("set", "set")
    assert report["data"]["endpoints"] == len(ENDPOINTS)
    assert "canary" not in result.stdout + result.stderr
    wrong = run("bug-report", cwd=tmp_path, **{**here, "OPENAI_ADMIN_KEY": "sk-admin canary"})
    assert "canary" not in wrong.stdout + wrong.stderr
    assert "OPENAI_ADMIN_KEY" in json.loads(wrong.stdout)["settings"]


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """`--help` imports neither dagster nor duckdb, pyarrow, httpx or pydantic: that is what keeps it quick."""
    probe = (
        "import sys; sys.argv = ['usage-pipeline', '--help']\n"
        "from usage_pipeline.cli.process import run\n"
        "try:\n run()\nexcept SystemExit: pass\n"
        "heavy = {'dagster', 'duckdb', 'pyarrow', 'httpx', 'pydantic', 'deltalake', 'starlette'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_sync_of_the_served_organization_fills_the_warehouse(tmp_path: Path) -> None:
    """`sync` reads the asked days of the asked endpoints and says what it did, as a table and as JSON."""
    with open_world(now=utc_now()) as world:
        settings = world.settings(tmp_path / "data")
        since = str(utc_now().date() - timedelta(days=2))
        first = run(
            "sync",
            "--since",
            since,
            "--endpoint",
            "costs",
            "--endpoint",
            "images",
            "--json",
            cwd=tmp_path,
            **env(settings),
        )
        assert first.returncode == 0, first.stderr
        report = json.loads(first.stdout)
        assert {one["endpoint"]: one["outcome"] for one in report["endpoints"]} == {
            "costs": "replaced",
            "images": "replaced",
        }
        assert {one["requests"] for one in report["endpoints"]} == {1}
        again = run("sync", "--since", since, "--endpoint", "images", cwd=tmp_path, **env(settings))
    assert again.returncode == 0
    assert re.search(r"images\s*│\s*(unchanged|replaced)", again.stdout)
    assert rows(settings, "select count(*) > 0 from usage.costs") == [(True,)]


@pytest.mark.slow
def test_quiet_says_nothing_where_all_is_well(tmp_path: Path) -> None:
    """For cron: no table, no progress, no word; errors are told as ever."""
    with open_world(now=utc_now()) as world:
        settings = world.settings(tmp_path / "data")
        asked = ["sync", "--since", str(utc_now().date() - timedelta(days=1)), "--endpoint", "costs"]
        verified = ["verify", "--quick"]
        for command in (asked, ["publish"], ["replay"], verified, ["report"]):
            done = run(*command, "--quiet", cwd=tmp_path, **env(settings))
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command
        export = ["export", "focus", "--partial", "--month", f"{utc_now():%Y-%m}"]
        done = run(*export, "--quiet", cwd=tmp_path, **env(settings))
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.startswith("warning: ")
        assert done.stderr.count("\n") == 1
        refused = run(*asked, "-q", cwd=tmp_path, **env(settings, OPENAI_ADMIN_KEY="sk-proj-x"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("usage-pipeline: ")


def test_a_wrong_key_kind_is_one_line_and_exit_2(still_world: World, tmp_path: Path) -> None:
    """A project key gives one line that says which key is needed, though twelve endpoints refused it."""
    settings = still_world.settings(tmp_path / "data")
    result = run(
        "sync", "--since", "2026-11-19", "--json", cwd=tmp_path, **env(settings, OPENAI_ADMIN_KEY="sk-proj-wrong")
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search("admin key.*OPENAI_ADMIN_KEY", result.stderr)
    assert "sk-proj-wrong" not in result.stdout + result.stderr


def test_a_missing_scope_is_one_line_and_exit_2(still_world: World, tmp_path: Path) -> None:
    """An error body that is a bare string is understood, and the scope it names is said."""
    settings = still_world.settings(tmp_path / "data")
    key = "sk-admin-noscope"
    result = run(
        "sync", "--since", "2026-11-19", "--endpoint", "costs", cwd=tmp_path, **env(settings, OPENAI_ADMIN_KEY=key)
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "api.usage.read" in result.stderr
    assert key not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["sync"], {}, "OPENAI_ADMIN_KEY is not set"),
        (["sync", "--since", "tomorrow"], {"OPENAI_ADMIN_KEY": "sk-admin-x"}, "'tomorrow' is not a day: write it as"),
        (["sync", "--since", "2999-01-01"], {"OPENAI_ADMIN_KEY": "sk-admin-x"}, "2999-01-01 is in the future"),
        (["sync", "--until", "2026-01-01"], {"OPENAI_ADMIN_KEY": "sk-admin-x"}, "--until needs --since"),
        (["sync", "--endpoint", "cost"], {"OPENAI_ADMIN_KEY": "sk-admin-x"}, "no endpoint 'cost'"),
        (["status"], {"USAGE_PIPELINE_BUCKET_WIDTH": "5m"}, "USAGE_PIPELINE_BUCKET_WIDTH"),
        (["status"], {"USAGE_PIPELINE_WIDTH": "1h"}, "unknown setting USAGE_PIPELINE_WIDTH"),
        (["sql", "select 1"], {}, "does not exist yet: run `usage-pipeline sync`"),
        (["sql", "select 1", "--json", "--csv"], {}, "exclude each other"),
        (["simulate", "--now", "noon"], {}, "--now 'noon' is not a time"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], environment: dict[str, str], says: str, tmp_path: Path
) -> None:
    """Each mistake gets one line with the way out, exit code 2, and leaves no folder behind."""
    assert_one_line(run(*arguments, cwd=tmp_path, **environment), says, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["budgets.csv", "prices.csv", "tags.csv"])
def test_a_wrong_file_is_told_before_anything_is_asked(file: str, tmp_path: Path) -> None:
    """A sync does not work for hours to fail at publishing: the file is read first, and nothing is asked or written."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / file).write_text("colour\nred\n", encoding="utf-8")
    nobody = {"OPENAI_ADMIN_KEY": "sk-admin-x", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    result = run("sync", cwd=tmp_path, **nobody)
    assert_one_line(result, f"{file}, line 1: column 'colour' is not known", 2)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [file]


def test_an_unreachable_service_is_exit_1(tmp_path: Path) -> None:
    """A failure that is nobody's configuration exits 1 and names the endpoint."""
    result = run(
        "sync", "--since", "2026-11-19", "--until", "2026-11-20", "--endpoint", "costs",
        cwd=tmp_path, OPENAI_ADMIN_KEY="sk-admin-x", OPENAI_BASE_URL="http://127.0.0.1:1/v1",
    )  # fmt: skip
    assert result.returncode == 1
    assert re.search("usage-pipeline: costs 2026-11-19.*ConnectError", result.stderr)


def test_status_tells_how_far_each_endpoint_is(synced: Settings, tmp_path: Path) -> None:
    """`status --json` has watermark, rows, gaps and last sync of all twelve endpoints, and the service's host."""
    result = run("status", "--json", cwd=tmp_path, **env(synced))
    found = {one["endpoint"]: one for one in json.loads(result.stdout)}
    assert set(found) == set(ENDPOINTS)
    assert {one["service"] for one in found.values()} == {synced.service}
    today = utc_now().date()
    assert {found["costs"]["watermark"], found["images"]["watermark"]} <= {str(today), str(today - timedelta(days=1))}
    assert (found["costs"]["days"], found["costs"]["gaps"]) == (3, [])
    assert found["costs"]["rows"] == rows(synced, "select count(*) from usage.costs")[0][0]
    # The label of the day's settings does not hide what is there (after `demo`, say).
    table = run("status", cwd=tmp_path, **env(synced, USAGE_PIPELINE_ORGANIZATION="other"))
    assert f"Organization default; the service asked is {synced.service}" in table.stdout
    assert all(name in table.stdout for name in ENDPOINTS)


def test_status_shows_gaps(world: World, tmp_path: Path) -> None:
    """Days missing between known ones are listed, and the watermark stops before them."""
    settings = world.settings(tmp_path / "data")
    for window in (last_days(1), last_days(3, world.clock().date() - timedelta(days=4))):
        world.sync(settings, window, ["images"])
    found = {one["endpoint"]: one for one in json.loads(run("status", "--json", cwd=tmp_path, **env(settings)).stdout)}
    assert found["images"]["gaps"] == ["2026-11-17..2026-11-20"]
    assert found["images"]["watermark"] == "2026-11-16"
    assert found["costs"]["watermark"] is None


def test_plan_says_what_a_sync_would_read_and_asks_nothing(world: World, tmp_path: Path) -> None:
    """Windows, page-aligned requests and reasons; a sync then reads exactly these windows."""
    settings = world.settings(tmp_path / "data", USAGE_PIPELINE_START_DATE=str(utc_now().date() - timedelta(days=60)))
    here = env(settings, USAGE_PIPELINE_START_DATE=str(settings.start_date), OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    planned = json.loads(run("plan", "--endpoint", "images", "--json", cwd=tmp_path, **here).stdout)
    assert [(one["days"], one["requests"], one["why"]) for one in planned] == [(61, 2, {"never read": 61})]
    asked = ("plan", "--since", "2026-08-01", "--until", "2026-08-03", "--endpoint", "costs")
    done = run(*asked, cwd=tmp_path, **here)
    assert "2026-08-01..2026-08-03" in done.stdout
    assert "2 asked for" in done.stdout
    assert "1 requests at least" in done.stderr


@pytest.mark.slow
def test_gaps_names_the_missing_days_and_the_command_that_reads_them(world: World, tmp_path: Path) -> None:
    """Days between known ones are listed with a command; it leaves no gap."""
    settings = world.settings(tmp_path / "data")
    for window in (last_days(1), last_days(3, world.clock().date() - timedelta(days=4))):
        world.sync(settings, window, ["images"])
    (gap,) = json.loads(run("gaps", "--json", cwd=tmp_path, **env(settings)).stdout)
    assert (gap["endpoint"], gap["missing"], gap["days"]) == ("images", "2026-11-17..2026-11-20", 3)
    program, *command = gap["read them with"].split()
    assert program == "usage-pipeline"
    assert run(*command, cwd=tmp_path, **env(settings)).returncode == 0
    done = run("gaps", cwd=tmp_path, **env(settings))
    assert (done.returncode, done.stdout) == (0, "")
    assert "no day is missing" in done.stderr


def test_sql_answers_as_table_json_and_csv(synced: Settings, tmp_path: Path) -> None:
    """The three forms hold the same exact values; decimals carry no idle zeros."""
    query = "select 1.50::decimal(38,20) as amount, 'a,b' as name, null as nothing, date '2026-11-03' as day"
    table, as_json, as_csv = (
        run("sql", query, *flag, cwd=tmp_path, **env(synced)) for flag in ([], ["--json"], ["--csv"])
    )
    assert json.loads(as_json.stdout) == [{"amount": "1.5", "name": "a,b", "nothing": None, "day": "2026-11-03"}]
    assert list(csv.reader(io.StringIO(as_csv.stdout))) == [
        ["amount", "name", "nothing", "day"],
        ["1.5", "a,b", "", "2026-11-03"],
    ]
    assert "1.5 " in table.stdout
    assert "1.50" not in table.stdout


def test_a_wrong_query_is_one_line_and_exit_2(synced: Settings, tmp_path: Path) -> None:
    """A query with a mistake gets the engine's message on one line."""
    assert_one_line(run("sql", "select nonsense from usage.costs", cwd=tmp_path, **env(synced)), "nonsense", 2)


def test_control_characters_of_the_upstream_reach_no_terminal(synced: Settings, tmp_path: Path) -> None:
    """Escape sequences in data are shown, not obeyed."""
    result = run("sql", "select chr(27) || '[31m[bold]red' as name", cwd=tmp_path, **env(synced))
    assert "\x1b" not in result.stdout
    assert "\\x1b[31m[bold]red" in result.stdout


def test_sql_into_a_closed_pipe_ends_quietly(synced: Settings, tmp_path: Path) -> None:
    """A reader that stops reading (head) is no error of the command's."""
    command = f"{sys.executable} -m usage_pipeline sql 'select range from range(300000)' --csv | head -1"
    kept = {**os.environ, **env(synced)}
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=kept, capture_output=True, text=True, check=False
    )
    assert result.stdout == "range\n"
    assert result.stderr == ""


def test_replay_reports_and_money_stays(world: World, tmp_path: Path) -> None:
    """`replay` rebuilds without network and the bill is the same to the last digit."""
    settings = world.settings(tmp_path / "data")
    world.sync(settings, last_days(3), ["costs"])
    billed = rows(settings, "select sum(amount) from usage.costs")
    assert isinstance(billed[0][0], Decimal)
    result = run("replay", "--json", cwd=tmp_path, **env(settings, OPENAI_BASE_URL="http://127.0.0.1:1/v1"))
    assert json.loads(result.stdout)["files"] == 1, result.stderr
    assert rows(settings, "select sum(amount) from usage.costs") == billed


def test_publish_brings_a_moved_folder_back(world: World, tmp_path: Path) -> None:
    """After the data folder moved, the published views name files that are gone; `publish` makes them anew."""
    settings = world.settings(tmp_path / "before")
    world.sync(settings, last_days(2), ["costs"])
    billed = rows(settings, "select sum(amount) from usage.costs")
    settings.data_dir.rename(tmp_path / "after")
    moved = world.settings(tmp_path / "after")
    broken = run("sql", "select sum(amount) from usage.costs", cwd=tmp_path, **env(moved))
    assert_one_line(broken, "usage-pipeline publish", 2)
    result = run("publish", "--json", cwd=tmp_path, **env(moved))
    assert json.loads(result.stdout)["published"] == str(moved.warehouse_path)
    assert rows(moved, "select sum(amount) from usage.costs") == billed


def test_made_up_and_real_rows_never_share_a_warehouse(still_world: World, tmp_path: Path) -> None:
    """A sync into the demo's folder is refused with the way out, and so is a plan of it; nothing is fetched."""
    settings = still_world.settings(tmp_path / "data", USAGE_PIPELINE_ORGANIZATION="demo")
    still_world.sync(settings, last_days(1), ["images"])
    for command in ("sync", "plan"):
        refused = run(command, "--endpoint", "images", cwd=tmp_path, **env(settings))
        assert_one_line(refused, "made-up rows.*USAGE_PIPELINE_DATA_DIR", 2)


def test_what_is_written_is_for_the_owner_alone(tmp_path: Path) -> None:
    """Files of the warehouse are readable by nobody else."""
    with open_world(now=utc_now()) as world:
        settings = world.settings(tmp_path / "data")
        since = str(utc_now().date())
        assert run("sync", "--since", since, "--endpoint", "images", cwd=tmp_path, **env(settings)).returncode == 0
    for path in settings.data_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_simulate_serves_until_interrupted_at_the_asked_time(tmp_path: Path) -> None:
    """`simulate` announces its address, answers at its virtual time, and ends on Ctrl-C."""
    import httpx

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "USAGE_PIPELINE_"))}
    command = [
        sys.executable,
        "-m",
        "usage_pipeline",
        "simulate",
        "--port",
        "0",
        "--seed",
        "3",
        "--now",
        "2026-05-04T10:00:00Z",
    ]
    with subprocess.Popen(command, cwd=tmp_path, env=kept, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(4)]
        address = re.search(r"OPENAI_BASE_URL=(\S+)", "".join(lines))
        assert address, lines
        answer = httpx.get(
            f"{address[1]}/organization/costs",
            params={"start_time": 1777852800},
            headers={"Authorization": "Bearer sk-admin-x"},
            trust_env=False,
        )
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    assert answer.headers["date"].startswith("Mon, 04 May 2026 10:0")
    assert [bucket["start_time"] for bucket in answer.json()["data"]] == [1777852800]
    assert process.returncode in (0, 130)


def test_a_taken_port_is_one_line_and_exit_2(still_world: World, tmp_path: Path) -> None:
    """`simulate` on a port in use says so."""
    port = still_world.base_url.split(":")[2].split("/")[0]
    assert_one_line(run("simulate", "--port", port, cwd=tmp_path), f"port {port}.*--port", 2)
