"""The prompt of `usage-pipeline sql`, at a real terminal."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from usage_pipeline.settings import Settings
from usage_pipeline_tests.unit.test_cli import env
from usage_pipeline_tests.world import World, last_days

pytestmark = pytest.mark.marts("cost_daily")


class _Terminal:
    """One end of a terminal, a process at the other."""

    def __init__(self, ours: int, process: "subprocess.Popen[bytes]") -> None:
        self._ours = ours
        self.process = process

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, mark: str) -> str:
        """What is shown, up to the mark; the test's time ends a wait in vain."""
        seen = b""
        while mark.encode() not in seen:
            seen += os.read(self._ours, 4096)
        return seen.decode(errors="replace")


@contextmanager
def _prompt(settings: Settings, folder: Path) -> Iterator[_Terminal]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, **env(settings), "TERM": "dumb", "COLUMNS": "100", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "usage_pipeline", "sql"],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield _Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


def test_queries_are_answered_one_after_the_other(still_world: World, settings: Settings, tmp_path: Path) -> None:
    """Names complete by Tab, a query may have several lines, an error is one line, and `.quit` leaves."""
    still_world.sync(settings, last_days(1), ["vector_stores"])
    with _prompt(settings, tmp_path) as terminal:
        terminal.until("sql> ")
        terminal.type("select count(*) > 0 as has_rows\n")
        terminal.until("...> ")
        terminal.type("from usage.vector_stores_\t;\n")
        assert "Error" in terminal.until("sql> ")  # a macro wants the moment it is asked about
        terminal.type("select count(*) > 0 as has_rows from usage.vector_sto\t where true;\n")
        shown = terminal.until("sql> ")
        assert "usage.vector_stores" in shown
        terminal.type("selec 1;\n")
        shown = terminal.until("sql> ")
        assert "the query failed: Parser Error" in shown
        assert "^" not in shown, "nothing is above it in one line"
        terminal.type("select 40 + 2 as answer;\n")
        assert "42" in terminal.until("sql> ")
        terminal.type(".quit\n")
        assert terminal.process.wait(timeout=60) == 0


@pytest.mark.parametrize("leave", [".quit", "exit;"])
def test_commands_of_other_clients_are_not_waited_for(
    leave: str, still_world: World, settings: Settings, tmp_path: Path
) -> None:
    """A line that begins with a dot is answered at once, and leaving takes the usual words."""
    still_world.sync(settings, last_days(1), ["vector_stores"])
    with _prompt(settings, tmp_path) as terminal:
        terminal.until("sql> ")
        terminal.type(".help\n")
        assert "`.tables`" in terminal.until("sql> ")
        terminal.type(".tables\n")
        shown = terminal.until("sql> ")
        assert "marts.cost_daily" in shown
        assert "Bytes held in vector stores." in shown, "with what it says of itself"
        terminal.type("describe marts.cost_daily;\n")
        assert "line_item" in terminal.until("sql> ")
        terminal.type(f"{leave}\n")
        assert terminal.process.wait(timeout=60) == 0


def test_before_anything_is_published_the_prompt_says_so(tmp_path: Path) -> None:
    """There is nothing to ask: one line, exit code 2."""
    settings = Settings(_env_file=None, USAGE_PIPELINE_DATA_DIR=str(tmp_path / "none"))
    with _prompt(settings, tmp_path) as terminal:
        assert "does not exist yet" in " ".join(terminal.until("first.").split())
        assert terminal.process.wait(timeout=60) == 2
