"""The `export` commands."""

import sys
from pathlib import Path

from usage_pipeline.cli.console import print_json, say
from usage_pipeline.exports import export_focus, missing_text
from usage_pipeline.organizations import Organizations


def run_export_focus(
    month: str,
    *,
    file_format: str,
    version: str,
    output: Path | None,
    is_partial: bool,
    label: str | None,
    as_json: bool,
    is_quiet: bool,
) -> None:
    """Write a month's FOCUS rows, of one organization or of all there are, and say where."""
    organizations = Organizations.from_env()
    settings = organizations.folder if label is None else organizations.one(label)
    done = export_focus(
        settings,
        month,
        file_format=file_format,
        version=version,
        output=output,
        is_partial=is_partial,
        organization=label,
    )
    if done.missing:
        say(f"warning: {month} is not complete, nobody has read {missing_text(done.missing)}")
    if as_json:
        missing = {name: [str(run) for run in runs] for name, runs in done.missing.items()}
        print_json({"path": str(done.path), "rows": done.rows, "missing": missing})
    elif not is_quiet:
        say(f"{done.rows} rows of {month}, FOCUS {version}")
        sys.stdout.write(f"{done.path}\n")
