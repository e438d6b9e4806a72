"""The `init` command: asks for the key, tries it, and writes `.env` for its owner alone."""

import os
import sys
from datetime import date
from getpass import getpass
from pathlib import Path

from usage_pipeline.cli.console import print_json, say
from usage_pipeline.errors import FixConfig
from usage_pipeline.first_look import FirstLook, first_look
from usage_pipeline.settings import Settings

_KEY = "OPENAI_ADMIN_KEY"
_START = "USAGE_PIPELINE_START_DATE"
_UNQUOTABLE = set("'\"\\$#`")  # what a line of .env would not give back as it is


def run_init(*, is_replacing: bool, as_json: bool) -> None:
    """Ask, try, write; nothing is written where the key is refused."""
    file = Path(".env")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if not is_replacing and any(_names(line, _KEY) for line in lines):
        raise FixConfig(f"{file} already has {_KEY}: give --replace to put another key in its place.")
    key = _ask()
    settings = Settings.from_env(OPENAI_ADMIN_KEY=key)
    clean = settings.require_key().get_secret_value()
    if _UNQUOTABLE & set(clean):
        raise FixConfig("the key holds a quote, a backslash, $ or #, which no key has: copy it again.")
    seen = first_look(settings)
    start = settings.start_date or seen.first_cost
    _write(file, lines, clean, start)
    if as_json:
        print_json(
            {
                "env_file": str(file.absolute()),
                "service": settings.service,
                "first_cost": seen.first_cost,
                "start_date": start,
                "names": seen.names_refusal or "readable",
            }
        )
    else:
        _tell(settings, file, seen, start)


def _ask() -> str:
    """The key, not shown; from a pipe its first line.

    Raises:
        FixConfig: nothing was given.
    """
    if sys.stdin.isatty():
        key = getpass("Admin key of the organization (sk-admin-..., not shown): ")
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise FixConfig(
            "no key was given: create an admin key in the organization's settings, with the scope to read usage, and "
            "run `usage-pipeline init` again."
        )
    return key


def _names(line: str, name: str) -> bool:
    return line.strip().removeprefix("export ").partition("=")[0].strip() == name


def _write(file: Path, lines: list[str], key: str, start: date | None) -> None:
    """Put both settings in place of what the file had of them, at once, readable by the owner alone."""
    mine = {_KEY: key} | ({_START: start.isoformat()} if start is not None else {})
    kept = [line for line in lines if not any(_names(line, name) for name in mine)]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in mine.items())]) + "\n"
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
            new.write(text)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _tell(settings: Settings, file: Path, seen: FirstLook, start: date | None) -> None:
    say(f"The key reads usage and costs of {settings.service}. It is in {file.absolute()}, for you alone.")
    if seen.names_refusal is not None:
        say(f"It may not read names, so ids stay ids: {seen.names_refusal}")
    if start is None:
        say(f"Nothing was billed in {seen.looked_at}; a sync reads these days.")
    else:
        say(f"A sync begins with {start}: {'the first day with cost' if start == seen.first_cost else 'as set'}.")
    say("Next: `usage-pipeline plan` shows what a sync would read, `usage-pipeline sync` reads it.")
    if os.environ.get(_KEY):
        say(f"{_KEY} is set in the environment too, which wins over {file}.")
