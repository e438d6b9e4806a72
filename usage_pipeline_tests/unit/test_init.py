"""`usage-pipeline init`: a key is tried before it is kept, and kept for its owner alone."""

import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from usage_pipeline.windows import utc_now
from usage_pipeline_tests.unit.test_cli import assert_one_line
from usage_pipeline_tests.world import World, open_world

KEY = "sk-admin-0123456789abcdef"


@pytest.fixture(scope="module")
def present() -> Iterator[World]:
    """An organization in the present, for commands that know no other time."""
    with open_world(now=utc_now()) as world:
        yield world


def _environment(world: World) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "USAGE_PIPELINE_"))}
    return {**kept, "OPENAI_BASE_URL": world.base_url}


def _init(world: World, folder: Path, key: str, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "usage_pipeline", "init", *options]
    return subprocess.run(
        command,
        cwd=folder,
        env=_environment(world),
        input=f"{key}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_a_key_that_works_is_written_with_the_first_day_of_cost(present: World, tmp_path: Path) -> None:
    """What `.env` had stays, key and start date are added, the file is its owner's alone, and a sync then begins."""
    (tmp_path / ".env").write_text("# mine\nUSAGE_PIPELINE_ORGANIZATION=acme\n", encoding="utf-8")
    done = _init(present, tmp_path, f' "{KEY}" ', "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["names"] == "readable"
    first = told["first_cost"]
    assert first == told["start_date"]
    assert str(utc_now().date() - timedelta(days=370)) < first
    lines = (tmp_path / ".env").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "# mine",
        "USAGE_PIPELINE_ORGANIZATION=acme",
        f"OPENAI_ADMIN_KEY={KEY}",
        f"USAGE_PIPELINE_START_DATE={first}",
    ]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert KEY not in done.stdout + done.stderr
    plan = [sys.executable, "-m", "usage_pipeline", "plan", "--endpoint", "costs", "--json"]
    planned = subprocess.run(
        plan, cwd=tmp_path, env=_environment(present), capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(planned.stdout)[0]["window"].startswith(first)


@pytest.mark.parametrize("key", ["sk-proj-0123456789", "sk-admin-noscope403-0123"])
def test_a_refused_key_writes_nothing(present: World, tmp_path: Path, key: str) -> None:
    """A key of another kind, or without the scope, is refused in one line that does not quote it: no `.env`."""
    done = _init(present, tmp_path, key)
    assert_one_line(done, "key", 2)
    assert list(tmp_path.iterdir()) == []
    assert key not in done.stderr


@pytest.mark.slow
def test_a_key_without_names_is_kept_and_says_so(present: World, tmp_path: Path) -> None:
    """Usage can be read without the scope for names; what that means is told."""
    done = _init(present, tmp_path, "sk-admin-nonames-0123")
    assert done.returncode == 0
    assert "It may not read names, so ids stay ids" in done.stderr
    assert (tmp_path / ".env").exists()


def test_a_key_that_is_there_is_not_replaced_by_accident(present: World, tmp_path: Path) -> None:
    """A `.env` with a key stays as it is, unless told otherwise."""
    (tmp_path / ".env").write_text(f"export OPENAI_ADMIN_KEY={KEY}\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o600)
    other = KEY.replace("0", "x")
    assert_one_line(_init(present, tmp_path, other), "already has OPENAI_ADMIN_KEY: give --replace", 2)
    assert KEY in (tmp_path / ".env").read_text(encoding="utf-8")
    done = _init(present, tmp_path, other, "--replace")
    assert done.returncode == 0, done.stderr
    assert f"OPENAI_ADMIN_KEY={other}\n" in (tmp_path / ".env").read_text(encoding="utf-8")
    assert KEY not in (tmp_path / ".env").read_text(encoding="utf-8")
    assert "A sync begins with" in done.stderr


@pytest.mark.parametrize(("key", "says"), [("", "no key was given"), ("sk-admin-a'b", "quote"), ("sk admin", "space")])
def test_what_is_no_key_is_told(present: World, tmp_path: Path, key: str, says: str) -> None:
    """Nothing, or what cannot be a key, is one line with the way out."""
    assert_one_line(_init(present, tmp_path, key), says, 2)


def test_the_key_is_not_shown_on_a_terminal(present: World, tmp_path: Path) -> None:
    """Typed at the prompt it is not echoed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "usage_pipeline", "init"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=_environment(present),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while b"not shown" not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, f"{KEY}\n".encode())
        seen = _rest(ours)
        assert process.wait(timeout=60) == 0, seen
    assert KEY.encode() not in seen
    assert b"A sync begins with" in seen


def _rest(terminal: int) -> bytes:
    found = b""
    while True:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # what Linux says when the other end is closed
            return found
        if not piece:
            return found
        found += piece
