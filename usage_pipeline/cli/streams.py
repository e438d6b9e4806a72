"""What a command says on stderr when it does not go as asked: one harmless line, or a bug's traceback without secrets.

Put setting up of the streams and wording of failures here; which failure ends how is process.py's.
"""

import io
import logging
import sys

from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.redaction import escaped, without_keys


def set_up_streams() -> None:
    """UTF-8 out whatever the locale: names are of any script; quiet logs, for the commands say what matters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Harmless("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class Harmless(logging.Formatter):
    """Log lines in which nothing steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines, what would steer shown as its escape."""
        return "\n".join(map(escaped, super().format(record).split("\n")))


def complain(message: str) -> None:
    """One line, whatever the message holds; a key typed where none belongs is not repeated."""
    from usage_pipeline.cli.console import say

    say(without_keys(f"usage-pipeline: {' '.join(message.split())}"))


def tell_bug(bug: Exception) -> None:
    """All of a failure nobody foresaw, but for the key and the webhook's address."""
    from usage_pipeline.organizations import Organizations
    from usage_pipeline.redaction import told

    try:
        secrets = Organizations.from_env().folder.secrets
    except UsagePipelineError:
        secrets = []
    sys.stderr.write("\n".join(map(escaped, without_keys(told(bug, secrets)).split("\n"))))
