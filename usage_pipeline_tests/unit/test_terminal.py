"""What commands look like: at 60, 80 and 120 columns, without colour, piped, and how long work tells how far it is.

Commands run in this process, with streams that say they are a terminal.
"""

import inspect
import io
import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from rich.cells import cell_len

from usage_pipeline.cli import main, process
from usage_pipeline.cli.console import progress
from usage_pipeline.cli.tables import print_table
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.verify import verify
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.unit.test_cli import env
from usage_pipeline_tests.world import last_days, open_world

MARTS = ("cost_by_key", "cost_drivers_daily", "budget_status")
pytestmark = pytest.mark.marts(*MARTS)

WIDTHS = (60, 80, 120)
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_DRAWN = "│┃─━┏┓┗┛┡┩┳╇└┘┴"


class _Stream(io.StringIO):
    """A stream of text that says it is a terminal, or that it is not."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two days of three endpoints, and a gap."""
    today = utc_now().date()
    with only_marts(*MARTS), open_world(now=utc_now()) as world:
        settings = world.settings(tmp_path_factory.mktemp("synced") / "my data")
        names = ["completions", "code_interpreter_sessions", "costs"]
        world.sync(settings, last_days(2, today), names)
        world.sync(settings, last_days(1, today - timedelta(days=5)), names)
        yield settings


@pytest.fixture
def at(synced: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command at a width; returns what stdout and stderr got."""
    for name, value in env(synced).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(process, "set_up_streams", lambda: None)  # it is about the real ones

    def run(*arguments: str, columns: int = 80, is_terminal: bool = True) -> tuple[str, str]:
        streams = _Stream(is_terminal=is_terminal), _Stream(is_terminal=is_terminal)
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            patch.setattr(sys, "argv", ["usage-pipeline", *arguments])
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            patch.setattr(process.signal, "signal", lambda *_: None)
            with pytest.raises(SystemExit):
                process.run()
        return streams[0].getvalue(), streams[1].getvalue()

    return run


def _words(shown: str) -> set[str]:
    """What stands between blanks and lines of a table."""
    plain = "".join(" " if char in _DRAWN else char for char in _STYLE.sub("", shown))
    return {word.strip(".;,:") for word in plain.split()}


def _explained() -> list[str]:
    today = utc_now().date()
    return [
        "explain",
        "--from",
        f"{today - timedelta(days=5)}",
        "--to",
        f"{today - timedelta(days=1)}",
        "--by",
        "model",
    ]


COMMANDS = {
    "help": ["--help"],
    "help of export": ["export", "focus", "--help"],
    "version": ["--version"],
    "status": ["status"],
    "plan": ["plan"],
    "gaps": ["gaps"],
    "explain": _explained(),
    "verify": ["verify", "--quick"],
    "sql, narrow": ["sql", "from marts.cost_by_key order by all limit 3"],
    "sql, wide": ["sql", "from usage.completions order by all limit 2"],
    "sql, one row": ["sql", "from marts.cost_by_key order by all limit 1"],
    "a refusal": ["sync", "--since", "tomorrow"],
    "a misspelt option": ["sync", "--sinse", "2026-11-01"],
    "a failing query": ["sql", "select there_is_no_such_column from marts.cost_by_key"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=list(COMMANDS))
def test_nothing_is_cut_and_no_word_broken_at_any_width(arguments: list[str], at: Run) -> None:
    """At 60, 80 and 120 columns every line fits, and every word and number of the piped answer is there whole."""
    piped = "".join(at(*arguments, is_terminal=False))
    for width in WIDTHS:
        shown = "".join(at(*arguments, columns=width))
        over = [line for line in re.split(r"[\r\n]", _STYLE.sub("", shown)) if cell_len(line.rstrip()) > width]
        assert over == [], width
        assert _words(piped) - _words(shown) == set(), width


@pytest.mark.parametrize("arguments", [COMMANDS[name] for name in ("help", "status", "explain", "a refusal")])
def test_no_colour_where_it_is_not_wanted(arguments: list[str], at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR, and where the output is piped, there is no escape sequence at all."""
    assert "\x1b" not in "".join(at(*arguments, is_terminal=False))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(at(*arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"], ["plan"], ["gaps"], ["check"], _explained(), ["verify", "--quick"], ["bug-report"],
        ["doctor", "--offline"], ["sql", "from usage.costs limit 2"], ["publish"],
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_json_is_one_document(arguments: list[str], at: Run) -> None:
    """With `--json` stdout is one JSON document and nothing else, on a terminal too."""
    wanted = arguments if arguments[0] == "bug-report" else [*arguments, "--json"]
    said, told = at(*wanted)
    assert said, told
    assert json.loads(said) is not None
    assert "\x1b" not in said


def test_every_command_that_answers_has_json() -> None:
    """All but those that serve until Ctrl-C, and the bug report, which is JSON anyway."""
    commands = [*main.app.registered_commands, *main.export.registered_commands]
    without = {
        command.callback.__name__
        for command in commands
        if command.callback and "as_json" not in inspect.signature(command.callback).parameters
    }
    assert without == {"bug_report", "simulate", "ui"}


_LONG = Decimal("12345678901234567.12345678901234567890")


@pytest.mark.parametrize(
    ("columns", "rows", "says"),
    [
        (["a", "b"], [(1, "x")], r"┃ a ┃ b ┃"),
        (["day", "what"], [("2026-11-01", "many words " * 9), ("2026-11-02", "")], r"│ 2026-11-01 │ many words"),
        (["name", "same", "n"], [("x" * 30, "s" * 30, 1), ("y" * 30, "s" * 30, 2)], r"In every row: same s{30}\.\n┏"),
        (
            ["name", "n", "why"],
            [(name, 1, "358 days never read") for name in ("x" * 36, "y")],
            r"358 days never read\.\n┏",
        ),
        (["of", "name", "n"], [("s" * 30, "x" * 30, 1), ("s" * 30, "y" * 30, 2)], r"In every row: of s{30}\.\n┏"),
        (["a" * 30, "b" * 30], [(1, 2), (1, 2)], r"In every row: b{30} 2\.\n┏"),
        (
            ["name", *"abcdef"],
            [(name * 40, *([n] * 6)) for name, n in (("x", 1000), ("y", 2000))],
            r"\nx{40}\n +1000 +1000",
        ),
        (["c" * 25, "d"], [(_LONG, _LONG)], r"row 1 ─+\nc{25}\n  12345678901234567\.1234567890123456789\n"),
        (["[red]x", "y"], [("[bold]z", None)], r"\[bold\]z"),
        (["nothing"], [], r"nothing"),
    ],
    ids=[
        "as it is",
        "wrapped between words",
        "said once",
        "said once rather than wrapped",
        "the first one too",
        "all the same",
        "a line of its own",
        "a value a line",
        "markup",
        "no rows",
    ],
)
def test_a_table_takes_the_layout_that_fits(
    columns: list[str], rows: list[tuple[object, ...]], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layout shows everything within 60 columns."""
    stream = _Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(None, columns, rows)
    shown = stream.getvalue()
    assert re.search(says, shown), shown
    assert max(cell_len(line.rstrip()) for line in shown.split("\n")) <= 60


@pytest.mark.parametrize("width", WIDTHS)
def test_long_work_tells_rate_and_time_left(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal of any width: what is done, how much of how much, a rate and the time left; then it is gone."""
    stream = _Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress(clock=itertools.count(step=0.5).__next__) as tell:
        for done in range(1, 40):
            tell("comparing days", done, 1200)
    lines = [_STYLE.sub("", line) for line in re.split(r"[\r\n]", stream.getvalue())]
    assert re.search(r"comparing days.* \d+/1,200 [\d.]+/s .*\d:\d\d:\d\d left", "\n".join(lines))
    assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_for_people_who_look(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped, or with `--quiet`, long work says nothing."""
    stream = _Stream(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(quiet=is_terminal) as tell:
        tell("replaying raw files", 1, 2)
    assert stream.getvalue() == ""


def test_verify_and_replay_tell_how_far_they_are(synced: Settings, tmp_path: Path) -> None:
    """Both count up to what they said there is, in stages that do not come back."""
    told: list[tuple[str, int, int]] = []
    copy = Path(shutil.copytree(synced.data_dir, tmp_path / "copy"))
    settings = synced.model_copy(update={"data_dir": copy})
    replay(settings, tell=lambda *news: told.append(news))
    verify(settings, tell=lambda *news: told.append(news))
    stages = [stage for stage, _ in itertools.groupby(told, key=lambda news: news[0])]
    assert stages == [
        "replaying raw files", "putting the tables in place", "comparing what is stored", "computing marts",
        "publishing", "comparing files", "comparing days", "computing the marts again",
    ]  # fmt: skip
    for stage in ("replaying raw files", "comparing files"):
        counts = [(done, total) for name, done, total in told if name == stage]
        assert counts == sorted(counts)
        assert counts[-1][0] == counts[-1][1] > 1


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("usage-pipeline ex", ["explain", "export"]),
        ("usage-pipeline sync --endpoint co", ["completions", "code_interpreter_sessions", "costs"]),
    ],
)
def test_the_shell_completes(typed: str, offered: list[str], at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and endpoints, as bash asks for them once `--install-completion` was given."""
    monkeypatch.setenv("_USAGE_PIPELINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    assert at()[0].split() == offered
