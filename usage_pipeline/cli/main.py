"""The `usage-pipeline` command: what can be asked for, and how errors leave the process.

Put commands' options and help here; each command's work is in its own module, imported only when it runs, so that
`--help` stays quick.
"""

import io
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from usage_pipeline.errors import UsagePipelineError

app = typer.Typer(
    help="Brings OpenAI usage and costs into a DuckDB warehouse, exactly and for good.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_INTERRUPTED = 130
_GRACE_SECONDS = 8
_INTERRUPTED_MESSAGE = "interrupted; what was not committed is unchanged."

export = typer.Typer(help="Write what the warehouse holds to files other tools read.", no_args_is_help=True)
app.add_typer(export, name="export")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Endpoints = Annotated[
    list[str] | None, typer.Option("--endpoint", metavar="N", help="Only this endpoint; may be repeated.")
]


@app.command()
def demo(
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days to sync, today included.")] = 14,
    seed: Annotated[int, typer.Option(help="Which made-up organization.")] = 7,
) -> None:
    """Try everything without a key: a local API over a made-up organization, a real sync, a warehouse to query."""
    from usage_pipeline.cli.demo import run_demo

    raise typer.Exit(run_demo(days=days, seed=seed))


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 8765,
    seed: Annotated[int, typer.Option(help="Which made-up organization.")] = 7,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="Virtual time to start at, ISO 8601; default: the present.")
    ] = None,
    delay_seconds: Annotated[float, typer.Option(min=0, help="Answer every request this much later.")] = 0.0,
    fault_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that fail (429, 500, 503).")] = 0.0,
) -> None:
    """Serve the made-up organization's API alone, until Ctrl-C."""
    from usage_pipeline.cli.simulate import run_simulate

    run_simulate(port=port, seed=seed, now=now, delay_seconds=delay_seconds, fault_rate=fault_rate)


@app.command()
def sync(
    since: Annotated[str | None, typer.Option(metavar="D", help="First day, YYYY-MM-DD; default: what is due.")] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Day to stop before; default: today included.")] = None,
    endpoint: Endpoints = None,
    as_json: Json = False,
) -> None:
    """Read usage and costs into the warehouse: what is due, or the days asked for."""
    from usage_pipeline.cli.sync import run_sync

    raise typer.Exit(run_sync(since=since, until=until, names=endpoint, as_json=as_json))


@app.command()
def plan(
    since: Annotated[str | None, typer.Option(metavar="D", help="First day, YYYY-MM-DD; default: what is due.")] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Day to stop before; default: today included.")] = None,
    endpoint: Endpoints = None,
    as_json: Json = False,
) -> None:
    """Show what a sync would read now: windows, requests, and why. Nothing is asked."""
    from usage_pipeline.cli.plan import run_plan

    run_plan(since=since, until=until, names=endpoint, as_json=as_json)


@app.command()
def gaps(as_json: Json = False) -> None:
    """Show the days that are missing between known ones, and the command that reads them."""
    from usage_pipeline.cli.plan import run_gaps

    run_gaps(as_json=as_json)


@app.command()
def replay(
    may_forget: Annotated[
        bool, typer.Option("--may-forget", help="Go on where raw files are missing: their days are dropped.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rebuild the lake and the warehouse from the raw archive, without network."""
    from usage_pipeline.cli.sync import run_replay

    run_replay(may_forget=may_forget, as_json=as_json)


@app.command()
def publish(as_json: Json = False) -> None:
    """Bring marts and warehouse.duckdb up to date from the lake: after moving the data folder or losing the file."""
    from usage_pipeline.cli.sync import run_publish

    run_publish(as_json=as_json)


# A query may begin with a comment, `-- like this`: that is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[str, typer.Argument(help="A DuckDB query, or - to read it from standard input.")],
    as_json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV on stdout.")] = False,
) -> None:
    """Ask the warehouse a question in SQL."""
    from usage_pipeline.cli.sql import run_sql

    run_sql(query, as_json=as_json, as_csv=csv)


@app.command()
def explain(
    first: Annotated[
        str, typer.Option("--from", metavar="A..B", help="Window before, B not included; or a month 2026-10, or a day.")
    ],
    second: Annotated[str, typer.Option("--to", metavar="C..D", help="Window after.")],
    by: Annotated[str, typer.Option(metavar="WHAT", help="project, model, api_key or user.")] = "project",
    currency: Annotated[str, typer.Option(help="Which currency; they are never added.")] = "usd",
    as_json: Json = False,
) -> None:
    """Say why the cost changed between two windows: volume, mix, price, new and gone, adding up exactly."""
    from usage_pipeline.cli.explain import run_explain

    run_explain(first=first, second=second, by=by, currency=currency, as_json=as_json)


@app.command()
def check(
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    against_service: Annotated[
        bool, typer.Option("--against-service", help="Also ask the service for the costs' ungrouped totals.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run all checks of the data: budgets, anomalies, sums, reconciliation, coverage, freshness; exit 3 on failure."""
    from usage_pipeline.cli.check import run_check

    run_check(is_strict=strict, is_against_service=against_service, as_json=as_json)


@app.command()
def verify(
    quick: Annotated[bool, typer.Option("--quick", help="Only the files' hashes: no days, no marts.")] = False,
    as_json: Json = False,
) -> None:
    """Compare every stored file, day and mart with what was recorded, and name what differs; exit 3 if any does."""
    from usage_pipeline.cli.repair import run_verify

    run_verify(is_quick=quick, as_json=as_json)


@app.command()
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask the service for nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Repair what verify finds, from raw and from what is intact; with a key, read again what neither has."""
    from usage_pipeline.cli.repair import run_doctor

    run_doctor(is_offline=offline, as_json=as_json)


@export.command("focus")
def export_focus(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month to write.")],
    file_format: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
    version: Annotated[str, typer.Option(help="Version of FOCUS: 1.4 or 1.2.")] = "1.4",
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File to write; default: in the data folder's exports.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Write the month though days of it are unknown.")] = False,
    as_json: Json = False,
) -> None:
    """Write a month of cost rows in the FinOps FOCUS format, one file, exact amounts."""
    from usage_pipeline.cli.export import run_export_focus

    run_export_focus(
        month, file_format=file_format, version=version, output=output, is_partial=partial, as_json=as_json
    )


@app.command()
def status(as_json: Json = False) -> None:
    """Show per endpoint how far it has come: watermark, rows, last sync, gaps."""
    from usage_pipeline.cli.status import run_status

    run_status(as_json=as_json)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open Dagster's web UI and daemon on 127.0.0.1: runs, backfills, schedules."""
    from usage_pipeline.cli.ui import serve_ui
    from usage_pipeline.settings import Settings

    raise typer.Exit(serve_ui(Settings.from_env(), port=port))


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
