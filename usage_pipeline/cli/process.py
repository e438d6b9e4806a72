"""How the process begins and ends: signals, exit codes, and one line for every error made on purpose.

Put what holds for every command here; which commands there are is main.py's, what is said on stderr streams.py's.
"""

import os
import signal
import sys
from types import FrameType

import typer

from usage_pipeline.cli.main import app
from usage_pipeline.cli.streams import complain, set_up_streams, tell_bug
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.redaction import without_keys

_INTERRUPTED = 130
_GRACE_SECONDS = 8
_INTERRUPTED_MESSAGE = "interrupted; what was not committed is unchanged."


def run() -> None:
    """The console script: one line for every error made on purpose, its exit code, no traceback.

    Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 a check failed, 130 interrupted (Ctrl-C, SIGTERM).
    """
    os.umask(0o077)  # what is written tells what a company spends
    set_up_streams()
    signal.signal(signal.SIGTERM, _end_soon)
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as wrong:
        _refuse(wrong)
        sys.exit(wrong.exit_code)
    except UsagePipelineError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:  # typer turns Ctrl-C into this exit code, without a word
            complain(_INTERRUPTED_MESSAGE)
        raise
    except BrokenPipeError:
        # The reader (head, less) has gone: no error of ours. Keep Python's shutdown from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as refused:
        complain(f"{refused.filename or 'a file'}: {refused.strerror or refused}; mend that and run again.")
        sys.exit(1)
    except Exception as bug:
        tell_bug(bug)
        sys.exit(1)


def _refuse(wrong: typer.TyperException) -> None:
    """One line with the command that says what is taken; the help itself where nothing at all was given."""
    message = wrong.format_message()
    if "\n" in message:
        sys.stderr.write(f"{without_keys(message)}\n")
    else:
        context = getattr(wrong, "ctx", None)
        complain(f"{message.rstrip('.')}: see `{context.command_path if context else 'usage-pipeline'} --help`.")


def _end_soon(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM is Ctrl-C with an end: a step that takes too long, perhaps for a lock, is left as a kill leaves it."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        complain(_INTERRUPTED_MESSAGE)
        os._exit(_INTERRUPTED)

    signal.signal(signal.SIGALRM, leave)
    signal.alarm(_GRACE_SECONDS)
    signal.raise_signal(signal.SIGINT)
