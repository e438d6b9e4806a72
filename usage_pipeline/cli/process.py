"""How the process begins and ends: streams, signals, exit codes, and one line for every error made on purpose.

Put what holds for every command here; which commands there are is main.py's.
"""

import io
import logging
import os
import signal
import sys
from types import FrameType

from usage_pipeline.cli.main import app
from usage_pipeline.errors import UsagePipelineError

_INTERRUPTED = 130
_GRACE_SECONDS = 8
_INTERRUPTED_MESSAGE = "interrupted; what was not committed is unchanged."


def run() -> None:
    """The console script: one line for every error made on purpose, its exit code, no traceback.

    Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 a check failed, 130 interrupted (Ctrl-C, SIGTERM).
    """
    os.umask(0o077)  # what is written tells what a company spends
    _set_up_streams()
    signal.signal(signal.SIGTERM, _end_soon)
    try:
        app()
    except UsagePipelineError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:  # typer turns Ctrl-C into this exit code, without a word
            _complain(_INTERRUPTED_MESSAGE)
        raise
    except BrokenPipeError:
        # The reader (head, less) has gone: no error of ours. Keep Python's shutdown from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as refused:
        _complain(f"{refused.filename or 'a file'}: {refused.strerror or refused}; mend that and run again.")
        sys.exit(1)
    except Exception as bug:
        _tell_bug(bug)
        sys.exit(1)


def _end_soon(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM is Ctrl-C with an end: a step that takes too long, perhaps for a lock, is left as a kill leaves it."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        _complain(_INTERRUPTED_MESSAGE)
        os._exit(_INTERRUPTED)

    signal.signal(signal.SIGALRM, leave)
    signal.alarm(_GRACE_SECONDS)
    signal.raise_signal(signal.SIGINT)


def _set_up_streams() -> None:
    """UTF-8 out whatever the locale: names are of any script; quiet logs, for the commands say what matters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Harmless("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Harmless(logging.Formatter):
    """Log lines in which nothing steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(_shown, super().format(record).split("\n")))


def _shown(line: str) -> str:
    """What of a line would steer a terminal is shown, not obeyed: lines may quote what the service said."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def _complain(message: str) -> None:
    sys.stderr.write(f"usage-pipeline: {_shown(' '.join(message.split()))}\n")


def _tell_bug(bug: Exception) -> None:
    """All of a failure nobody foresaw, but for the key and the webhook's address."""
    from usage_pipeline.redaction import told
    from usage_pipeline.settings import Settings

    try:
        secrets = Settings.from_env().secrets
    except UsagePipelineError:
        secrets = []
    sys.stderr.write("\n".join(map(_shown, told(bug, secrets).split("\n"))))
