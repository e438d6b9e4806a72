"""Options that several commands have, each said once.

Put such an option and what the shell completes it to here; which command has it is main.py's.
"""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]


def _endpoint_names(incomplete: str) -> list[str]:
    """What the shell completes `--endpoint` to."""
    from usage_pipeline.endpoints import ENDPOINTS

    return [name for name in ENDPOINTS if name.startswith(incomplete)]


Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint", metavar="N", help="Only this endpoint; may be repeated.", autocompletion=_endpoint_names
    ),
]

Labels = Annotated[
    list[str] | None,
    typer.Option("--organization", metavar="LABEL", help="Only this one of usage_pipeline.toml; may be repeated."),
]
Label = Annotated[str | None, typer.Option("--organization", metavar="LABEL", help="Which one of usage_pipeline.toml.")]
