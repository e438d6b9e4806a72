"""The `report` command."""

import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path

from usage_pipeline.cli.console import print_json, say
from usage_pipeline.guard import resident
from usage_pipeline.organizations import Organizations
from usage_pipeline.report.write import write_report
from usage_pipeline.windows import utc_now


def run_report(
    *,
    month: str | None,
    last: int | None,
    currency: str | None,
    output: Path | None,
    label: str | None,
    is_opened: bool,
    as_json: bool,
    is_quiet: bool,
) -> None:
    """Write the report, say where, and open it where that is asked for."""
    settings = resident(Organizations.from_env().one(label))
    code = None if currency is None else currency.lower()
    done = write_report(settings, now=utc_now(), month=month, last=last, currency=code, output=output)
    if as_json:
        print_json({**asdict(done), "path": str(done.path)})
    elif not is_quiet:
        for one in done.figures:
            say(f"{one.label}: {one.value}{f', {one.pill}' if one.pill else ''}")
        sys.stdout.write(f"{done.path}\n")
    if is_opened and not webbrowser.open(done.path.resolve().as_uri()):
        say("no browser could be opened: open the file yourself.")
