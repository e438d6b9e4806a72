"""The `usage-pipeline export` commands: what can be written to files.

Put their options and help here; their work is export.py's.
"""

from pathlib import Path
from typing import Annotated

import typer

from usage_pipeline.cli.options import Json, Label, Quiet

export = typer.Typer(
    help="Write what the warehouse holds to files other tools read.", no_args_is_help=True, rich_markup_mode=None
)


@export.command("focus")
def export_focus(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month to write.")],
    file_format: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
    version: Annotated[str, typer.Option(help="Version of FOCUS: 1.4 or 1.2.")] = "1.4",
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File to write; default: in the data folder's exports.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Write the month though days of it are unknown.")] = False,
    organization: Label = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a month of cost rows in the FinOps FOCUS format, one file, exact amounts."""
    from usage_pipeline.cli.export import run_export_focus

    run_export_focus(
        month, file_format=file_format, version=version, output=output, is_partial=partial, label=organization,
        as_json=as_json, is_quiet=quiet,
    )  # fmt: skip
