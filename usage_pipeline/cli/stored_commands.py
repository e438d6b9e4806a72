"""The commands that make the warehouse from what is stored: `replay`, `publish`, `build-marts`.

Put their options and help here; their work is sync.py's.
"""

from typing import Annotated

import typer

from usage_pipeline.cli.options import Json, Quiet
from usage_pipeline.setting_checks import MartEngine


def replay(
    may_forget: Annotated[
        bool,
        typer.Option("--may-forget", help="Go on where raw files are missing: drop their days, or take older files."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rebuild the lake and the warehouse from the raw archive, without network."""
    from usage_pipeline.cli.sync import run_replay

    run_replay(may_forget=may_forget, as_json=as_json, is_quiet=quiet)


def publish(as_json: Json = False, quiet: Quiet = False) -> None:
    """Bring marts and warehouse.duckdb up to date from the lake: after moving the data folder or losing the file."""
    from usage_pipeline.cli.sync import run_publish

    run_publish(as_json=as_json, is_quiet=quiet)


def build_marts(
    engine: Annotated[
        MartEngine | None, typer.Option(help="What groups the rows of usage; default: USAGE_PIPELINE_MART_ENGINE.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do what `publish` does, with the rows of usage grouped by Spark where they are too many for one machine."""
    from usage_pipeline.cli.sync import run_publish

    run_publish(as_json=as_json, is_quiet=quiet, engine=engine)
