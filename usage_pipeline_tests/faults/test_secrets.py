"""The admin key leaves the process in one header only: twelve forms of it, through every way to fail."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from usage_pipeline.api.client import UsageClient
from usage_pipeline.cli import process, ui
from usage_pipeline.cli import sync as sync_command
from usage_pipeline.defs import usage_assets
from usage_pipeline.errors import FixConfig, UsagePipelineError
from usage_pipeline.names import sync_names
from usage_pipeline.redaction import redacted
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline_tests.dagster.stage import failures, recent, staged
from usage_pipeline_tests.faults.canary import hits
from usage_pipeline_tests.faults.fault_server import Play, Wire, faulty, html, redirect, truncated
from usage_pipeline_tests.scripted import WEEK, error, ok, read, script
from usage_pipeline_tests.world import World, last_days

pytestmark = pytest.mark.marts("cost_daily")

MARK = "cAnArY7f3a91"  # in every form; nothing of a refused or cleaned key may show it
KEY = f"sk-admin-{MARK}-0123456789"
LONG = f"sk-admin-{MARK}" + "x" * 5000

CLEANED: dict[str, tuple[str, str]] = {
    "newline": (f"{KEY}\n", KEY),
    "carriage_return": (f"{KEY}\r\n", KEY),
    "double_quotes": (f'"{KEY}"', KEY),
    "single_quotes": (f"'{KEY}'", KEY),
    "spaces_around": (f"  {KEY}\t", KEY),
    "project_key": (f"sk-proj-{MARK}_9876543210", f"sk-proj-{MARK}_9876543210"),
    "address_characters": (f"sk-admin-%2F{MARK}+/=?&#@:~", f"sk-admin-%2F{MARK}+/=?&#@:~"),
    "backslash_and_quotes": (f"sk-admin-\\\"'{MARK}\\n", f"sk-admin-\\\"'{MARK}\\n"),
    "very_long": (LONG, LONG),
    "no_prefix": (f"{MARK}-plain", f"{MARK}-plain"),
}
REFUSED = {
    "non_ascii": f"{KEY}é",
    "space_within": f"{KEY} {KEY}",
    "bearer": f"Bearer {KEY}",
    "line_break_within": f"{KEY}\n{KEY}",
    "soft_hyphen": f"{KEY}\u00ad",
    "escape": f"{KEY}\x1b[0m",
}
ENV_FILES = {
    "unquoted": (f"OPENAI_ADMIN_KEY={KEY}\n", KEY),
    "quoted": (f'OPENAI_ADMIN_KEY="{KEY}"\n', KEY),
    "single_quoted": (f"export OPENAI_ADMIN_KEY='{KEY}'\r\n", KEY),
    "comment": (f"OPENAI_ADMIN_KEY={KEY}   # the admin key\n", KEY),
    "spaces": (f"  OPENAI_ADMIN_KEY = {KEY}  \n", KEY),
    "escaped_newline": (f'OPENAI_ADMIN_KEY="{KEY}\\n"\n', KEY),
    "nul": (f"OPENAI_ADMIN_KEY={KEY}\x00\n", None),
    "unclosed_quote": (f'OPENAI_ADMIN_KEY="{KEY}\n', None),
    "no_name": (f"{KEY}\n", None),
    "not_utf8": (f"OPENAI_ADMIN_KEY={KEY}\udcff\n", None),
}

ANOTHER = "sk-admin-another-0123456789"  # is set where a misplaced one must be refused for its own sake
MISPLACED = {
    "mistyped_name": ("USAGE_PIPELINE_KEY", KEY),
    "as_name": (f"USAGE_PIPELINE_{KEY}", "1"),
    "wrong_setting": ("USAGE_PIPELINE_BUCKET_WIDTH", KEY),
    "as_day": ("USAGE_PIPELINE_START_DATE", KEY),
    "as_number": ("USAGE_PIPELINE_LOOKBACK_DAYS", KEY),
    "as_user_of_address": ("OPENAI_BASE_URL", f"https://{KEY}@api.example/v1"),
    "as_host": ("OPENAI_BASE_URL", f"https://{KEY}/v1"),
    "as_host_of_the_service": ("OPENAI_BASE_URL", f"https://{KEY}.api.openai.com/v1"),
    "as_broken_host": ("OPENAI_BASE_URL", f"https://[{KEY}/v1"),
    "as_port": ("OPENAI_BASE_URL", f"https://api.openai.com:{KEY}/v1"),
    "as_path_of_address": ("OPENAI_BASE_URL", f"http://127.0.0.1:9/{KEY}/v1"),
    "as_host_that_may": ("USAGE_PIPELINE_ALLOW_HOST", KEY),
    "as_label": ("USAGE_PIPELINE_ORGANIZATION", KEY),
    "as_upper_case_label": ("USAGE_PIPELINE_ORGANIZATION", KEY.upper()),
    "as_label_of_another_kind": ("USAGE_PIPELINE_ORGANIZATION", f"sk-{MARK}"),
    "as_folder": ("USAGE_PIPELINE_DATA_DIR", f"lakes/{KEY}"),
    "as_odd_folder": ("USAGE_PIPELINE_DATA_DIR", f"{KEY}%"),
}
TYPED: dict[str, list[str]] = {
    "command": [KEY],
    "argument": ["sync", KEY],
    "option": ["sync", f"--{KEY}"],
    "since": ["sync", "--since", KEY],
    "until": ["sync", "--since", "2026-11-01", "--until", KEY],
    "endpoint": ["sync", "--endpoint", KEY],
    "organization": ["status", "--organization", KEY],
    "upper_case": ["plan", "--endpoint", KEY.upper()],
    "with_more": ["plan", "--endpoint", f"Bearer:{KEY}"],
    "month": ["export", "focus", "--month", KEY],
    "time": ["simulate", "--now", KEY],
    "number": ["demo", "--days", KEY],
}


@pytest.fixture(autouse=True)
def logged() -> Iterator[io.StringIO]:
    """Everything any library logs while the test runs, at DEBUG; the canary must never be in it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert MARK not in stream.getvalue()


def shown(wrong: BaseException) -> str:
    """All an exception could show: text, representation, traceback, and its chain even where it is suppressed."""
    parts, at = [], [wrong]
    while at:
        one = at.pop()
        parts += [str(one), repr(one), repr(one.args), repr(vars(one)), *traceback.format_exception(one)]
        at += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "\n".join(parts)


@pytest.mark.parametrize("form", CLEANED)
def test_f03_keys_that_can_be_sent_are_cleaned_and_not_shown(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What copying adds is taken off; settings print no key in any form."""
    given, clean = CLEANED[form]
    monkeypatch.setenv("OPENAI_ADMIN_KEY", given)
    settings = Settings.from_env()
    assert settings.require_key().get_secret_value() == clean
    assert MARK not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("form", REFUSED)
def test_f03_keys_that_cannot_be_sent_are_refused_unseen(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a space, a line break or a foreign character is refused; nothing of it is in the error's chain."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", REFUSED[form])
    with pytest.raises(FixConfig, match="copy it again") as refused:
        Settings.from_env()
    assert MARK not in str(refused.value) + repr(refused.value)
    assert MARK not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("form", ENV_FILES)
def test_f03_an_env_file_shows_no_key(form: str, tmp_path: Path) -> None:
    """A key in .env, well or badly written, is read or refused, never shown."""
    text, clean = ENV_FILES[form]
    (tmp_path / ".env").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / ".env").chmod(0o600)
    if clean is not None:
        assert Settings.from_env().require_key().get_secret_value() == clean
        return
    with pytest.raises(UsagePipelineError) as refused:
        Settings.from_env().require_key()
    assert MARK not in str(refused.value) + "".join(traceback.format_exception(refused.value))


def _said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and all it said."""
    monkeypatch.setattr(sys, "argv", ["usage-pipeline", *arguments])
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    with pytest.raises(SystemExit) as ended:
        process.run()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out + err


@pytest.mark.parametrize("form", MISPLACED)
def test_f03_a_key_in_another_setting_is_refused_and_not_shown(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the key where it belongs, one that is in another setting is refused by every command, in .env and outside;
    no output quotes it in any case, and no file or folder is made of it.
    """
    name, value = MISPLACED[form]
    monkeypatch.setenv("OPENAI_ADMIN_KEY", ANOTHER)
    for place in ("environment", "file"):
        if place == "environment":
            monkeypatch.setenv(name, value)
        elif name == "USAGE_PIPELINE_ALLOW_HOST":
            return  # counts in the environment alone
        else:
            monkeypatch.delenv(name)
            (tmp_path / ".env").write_text(f"{name}={value}\n")
            (tmp_path / ".env").chmod(0o600)
        for arguments in (["status"], ["status", "--json"], ["plan"], ["sync", "--json"], ["bug-report"]):
            code, said = _said(arguments, monkeypatch, capsys)
            assert code == (0 if arguments == ["bug-report"] else 2), (place, arguments, said)
            assert "setting" in said
            assert MARK.lower() not in said.lower(), (place, arguments)
        with pytest.raises(FixConfig) as refused:
            Settings.from_env()
        assert MARK.lower() not in "".join(traceback.format_exception(refused.value)).lower()
        assert {path.name for path in tmp_path.rglob("*")} <= {".env"}


@pytest.mark.parametrize("form", TYPED)
def test_f03_a_key_typed_where_none_belongs_is_not_repeated(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What refuses an argument quotes it, but not one that looks like a key."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", ANOTHER)
    code, said = _said(TYPED[form], monkeypatch, capsys)
    assert code == 2, said
    assert said.startswith("usage-pipeline: ")
    assert MARK.lower() not in said.lower()


def test_f03_what_only_begins_like_a_key_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder such as sk-learn-data is taken, and words with a dash are no keys."""
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(tmp_path / "sk-learn-data"))
    monkeypatch.setenv("USAGE_PIPELINE_ORGANIZATION", "desk-research")
    settings = Settings.from_env()
    assert (settings.data_dir.name, settings.organization) == ("sk-learn-data", "desk-research")


def _quoting(wire: Wire) -> bytes:
    """What a server saw of the key."""
    head = wire.head.decode("latin-1")
    return next(line for line in head.split("\r\n") if line.lower().startswith("authorization")).encode("latin-1")


def _echo(status: str, wrap: Callable[[str], bytes]) -> Play:
    return lambda wire: wire.respond(wrap(_quoting(wire).decode("latin-1")), status=status)


ECHOES: dict[str, Play] = {
    "401_object": _echo("401 No", lambda key: json.dumps({"error": {"message": f"bad {key}", "param": key}}).encode()),
    "401_bare": _echo("401 No", lambda key: json.dumps({"error": f"bad {key}"}).encode()),
    "403_text": _echo("403 No", lambda key: f"no <b>{key}</b>".encode()),
    "400": _echo("400 No", lambda key: json.dumps({"error": {"message": key, "code": key}}).encode()),
    "418_address": _echo("418 No", lambda key: f"https://x/?k={quote(key, safe='')}".encode()),
    "404": _echo("404 No", str.encode),
    "500": _echo("500 No", str.encode),
    "200_text": _echo("200 OK", str.encode),
    "200_error": _echo("200 OK", lambda key: json.dumps({"error": {"message": key}}).encode()),
    "200_repeated_name": _echo("200 OK", lambda key: f"{{{json.dumps(key)}:1,{json.dumps(key)}:2}}".encode()),
    "200_wrong_value": _echo("200 OK", lambda key: json.dumps({"object": key}).encode()),
    "redirect": redirect(307, "https://elsewhere.example/"),
    "cut": truncated,
    "html": html("502 Bad Gateway"),
    "garbage": lambda wire: wire.send(b"HTTP/1.1 " + _quoting(wire) + b"\r\n\r\n"),
    "header": lambda wire: wire.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: " + _quoting(wire) + b"\r\n\r\n"),
    "reset": lambda wire: wire.reset(),
}


@pytest.mark.parametrize("form", ["newline", "address_characters", "backslash_and_quotes", "no_prefix", "very_long"])
def test_f03_f05_no_error_of_the_wire_holds_the_key(form: str) -> None:
    """However the service echoes the header, no error, no chain and no debug log of any library has the key in it."""
    key = CLEANED[form][1]
    for name, play in ECHOES.items():
        with faulty(play) as server:
            with pytest.raises(UsagePipelineError) as refused:
                read(script(httpx.Response(200)), key=SecretStr(key), transport=None, base_url=server.base_url)
            assert server.heads, name
            assert key.encode() in server.heads[0], "the key went where it belongs"
        assert MARK not in shown(refused.value), name


def test_f03_no_error_of_the_connection_holds_the_key() -> None:
    """Errors of libraries that quote the header lose it, in their chain as well."""
    faults = [
        httpx.ConnectError(f"all attempts failed, headers {{'authorization': 'Bearer {KEY}'}}"),
        httpx.LocalProtocolError(f"Illegal header value {('Bearer ' + KEY).encode()!r}"),
        httpx.InvalidURL(f"no {KEY}"),
        error(409, f"{KEY} {quote(KEY)}"),
        ok({"error": [KEY]}),
    ]
    for fault in faults:
        with pytest.raises(UsagePipelineError) as refused:
            read(script(fault), key=SecretStr(KEY))
        assert MARK not in shown(refused.value)


def _bug(*_arguments: Any, **_options: Any) -> Any:
    """A bug whose chain quotes the key in several ways."""
    try:
        try:
            raise ValueError(f"header {('Bearer ' + KEY).encode()!r}")
        except ValueError as cause:
            raise KeyError(KEY) from cause
    except KeyError:
        raise RuntimeError(f"unforeseen: https://x/?key={quote(KEY)}")  # noqa: B904 - the context is the point


def test_f03_a_bug_in_an_endpoint_or_a_list_is_told_without_the_key(
    still_world: World, data_dir: Path, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """An unforeseen exception becomes an error and a log line with its whole chain, the key taken out of both."""
    import asyncio

    from usage_pipeline.name_lists import NAME_LISTS

    settings = still_world.settings(data_dir, OPENAI_ADMIN_KEY=KEY)
    monkeypatch.setattr(UsageClient, "read_finest", _bug)
    report = sync(settings, choose_endpoints(["costs"]), last_days(1), client_factory=still_world.client)
    wrong = report.endpoints[0].error
    assert wrong is not None
    assert str(wrong).startswith("costs: unexpected RuntimeError: unforeseen: https://x/?key=(key). Please report it.")
    assert MARK not in shown(wrong)
    assert "KeyError: '(key)'" in logged.getvalue()

    monkeypatch.setattr(UsageClient, "read_names", _bug)
    client = still_world.client(settings)
    named = asyncio.run(sync_names(settings, client, NAME_LISTS["projects"], "sync"))
    assert "dims.projects: unexpected RuntimeError" in str(named.error)
    assert MARK not in str(named.error)
    assert hits(data_dir, MARK) == []


def test_f03_a_bug_in_a_command_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that fails in a way nobody foresaw shows its traceback, the key taken out of it."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setattr(sys, "argv", ["usage-pipeline", "sync"])
    monkeypatch.setattr(sync_command, "run_sync", _bug)
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    with pytest.raises(SystemExit) as ended:
        process.run()
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert MARK not in out + err
    assert "RuntimeError: unforeseen: https://x/?key=(key)" in err
    assert "direct cause" in err


@pytest.mark.slow
def test_f06_the_command_leaves_the_key_in_no_file_or_stream(world: World, tmp_path: Path) -> None:
    """A real `sync --json` in a process of its own, good and refused: nothing it prints or writes holds the key."""
    settings = world.settings(tmp_path / "data")
    day = str(world.clock().date())
    for key, code in ((f'"{KEY}"\r', 0), (f"sk-proj-{MARK}", 2), (REFUSED["bearer"], 2)):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "USAGE_"))},
            "OPENAI_ADMIN_KEY": key,
            "OPENAI_BASE_URL": world.base_url,
            "USAGE_PIPELINE_DATA_DIR": str(settings.data_dir),
            "HTTPX_LOG_LEVEL": "trace",
        }
        command = [sys.executable, "-X", "dev", "-W", "ignore", "-m", "usage_pipeline", "sync"]
        command += ["--since", day, "--until", "2026-11-21", "--endpoint", "vector_stores", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert MARK not in done.stdout + done.stderr
    assert (settings.warehouse_path).exists()
    assert hits(tmp_path, MARK) == []


def test_f01_f03_f04_a_failing_run_leaves_the_key_nowhere_in_dagster(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run whose steps fail by a refused key, and by a bug that quotes it: not in databases, blobs, logs or files."""
    monkeypatch.setattr(usage_assets, "negative_measures", _bug)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    with staged(data_dir, OPENAI_ADMIN_KEY=KEY) as stage:
        stage.gate.status["images"] = 401
        result = stage.run(recent(1), ["usage/costs", "usage/images"])
        said = failures(result)
        assert "unforeseen: https://x/?key=(key)" in said["usage__costs"]
        assert "401" in said["usage__images"]
        assert MARK not in str(said)
        assert hits(data_dir, MARK) == []
    out, err = capfd.readouterr()
    assert MARK not in out + err


def test_f03_secrets_are_found_in_every_form_text_gives_them() -> None:
    """Verbatim, as Python's repr, as JSON and in an address; a short secret does not hide behind a longer form."""
    secret = "k\\\"'/é+%"
    for form in (secret, repr(secret), json.dumps(secret), quote(secret), quote(secret, safe="")):
        assert "é" not in redacted(f"<{form}>", [secret])
        assert "(key)" in redacted(f"<{form}>", [secret])
    assert redacted("nothing", ["", "x"]) == "nothing"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o600])
def test_f08_an_env_file_others_can_read_is_told_once(mode: int, tmp_path: Path, logged: io.StringIO) -> None:
    """A .env with a secret that group or others can read gets one warning with the command that mends it."""
    path = tmp_path / ".env"
    path.write_text(f"OPENAI_ADMIN_KEY={KEY}\n")
    path.chmod(mode)
    for _ in range(3):
        Settings.from_env()
    assert logged.getvalue().count("chmod 600 .env") == (0 if mode == 0o600 else 1)


def test_f08_an_env_file_without_secrets_may_be_read(tmp_path: Path, logged: io.StringIO) -> None:
    """Where .env holds no secret, or an empty one, its rights are nobody's concern."""
    (tmp_path / ".env").write_text("USAGE_PIPELINE_LOOKBACK_DAYS=3\nOPENAI_ADMIN_KEY=\n")
    (tmp_path / ".env").chmod(0o644)
    Settings.from_env()
    assert "chmod" not in logged.getvalue()


def test_f08_the_warning_is_on_stderr_and_json_stays_json(tmp_path: Path) -> None:
    """The command says it on stderr; what is printed for programs is not disturbed."""
    (tmp_path / ".env").write_text(f"OPENAI_ADMIN_KEY={KEY}\n")
    (tmp_path / ".env").chmod(0o644)
    command = [sys.executable, "-m", "usage_pipeline", "status", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.count("chmod 600 .env") == 1
    json.loads(done.stdout)
    assert MARK not in done.stdout + done.stderr


def test_the_week_is_read_with_the_cleaned_key() -> None:
    """The header carries the key as cleaned."""
    far_side = script(ok({"object": "page", "data": [], "has_more": False}))
    with pytest.raises(UsagePipelineError):
        read(far_side, WEEK, key=SecretStr(KEY))
    assert far_side.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_f07_the_children_of_ui_have_the_key_in_one_variable_and_no_argument(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    """Dagster's webserver and daemon get the key as OPENAI_ADMIN_KEY alone: arguments are for all to read."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    @contextlib.contextmanager
    def running(command: list[str], env: dict[str, str], _log: Path) -> Iterator[None]:
        seen.append((command, env))
        yield

    monkeypatch.setattr(ui, "_running", running)
    monkeypatch.setattr(ui, "_watch", lambda *_: 0)
    settings = Settings(_env_file=None, OPENAI_ADMIN_KEY=KEY, USAGE_PIPELINE_DATA_DIR=str(data_dir))
    assert ui.serve_ui(settings, port=0) == 0
    assert len(seen) == 2
    for command, env in seen:
        assert MARK not in str(command)
        assert [name for name, value in env.items() if MARK in value] == ["OPENAI_ADMIN_KEY"]
    assert hits(data_dir, MARK) == []
