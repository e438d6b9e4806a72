"""The `usage-pipeline` command: what can be asked for.

Put commands' options and help here; each command's work is in its own module, imported only when it runs, so that
`--help` stays quick. How errors leave the process is process.py's.
"""

from pathlib import Path
from typing import Annotated

import typer

from usage_pipeline.cli.export_commands import export
from usage_pipeline.cli.options import Endpoints, Json, Label, Labels, Quiet
from usage_pipeline.cli.stored_commands import build_marts, publish, replay

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: at 60 columns the framed one cuts options' names
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(export, name="export", short_help="Write what the warehouse holds to files other tools read.")


def _version(is_asked: bool) -> None:
    """Print the versions and end, where that was asked for."""
    if is_asked:
        from usage_pipeline.cli.about import version_lines

        typer.echo("\n".join(version_lines()))
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    """Brings OpenAI usage and costs into a DuckDB warehouse, exactly and for good."""


@app.command("bug-report")
def bug_report() -> None:
    """Print versions, settings without secrets and the state of the data folder, to paste into an issue."""
    from usage_pipeline.cli.about import run_bug_report

    run_bug_report()


@app.command()
def demo(
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days to sync, today included.")] = 14,
    seed: Annotated[int, typer.Option(help="Which made-up organization.")] = 7,
    as_json: Json = False,
) -> None:
    """Try everything without a key: a local API over a made-up organization, a real sync, a warehouse to query."""
    from usage_pipeline.cli.demo import run_demo

    raise typer.Exit(run_demo(days=days, seed=seed, as_json=as_json))


@app.command()
def init(
    replace: Annotated[bool, typer.Option("--replace", help="Put the key in place of one that .env has.")] = False,
    as_json: Json = False,
) -> None:
    """Set up: ask for the admin key (hidden), try it, write .env for you alone, find the first day with cost."""
    from usage_pipeline.cli.init import run_init

    run_init(is_replacing=replace, as_json=as_json)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 8765,
    seed: Annotated[int, typer.Option(help="Which made-up organization.")] = 7,
    organizations: Annotated[
        int, typer.Option(min=1, max=1000, help="How many, told apart by their keys; of this seed and the next ones.")
    ] = 1,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="Virtual time to start at, ISO 8601; default: the present.")
    ] = None,
    delay_seconds: Annotated[float, typer.Option(min=0, help="Answer every request this much later.")] = 0.0,
    fault_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that fail (429, 500, 503).")] = 0.0,
) -> None:
    """Serve the made-up organization's API alone, until Ctrl-C."""
    from usage_pipeline.cli.simulate import run_simulate

    run_simulate(
        port=port, seed=seed, organizations=organizations, now=now, delay_seconds=delay_seconds, fault_rate=fault_rate
    )


@app.command()
def sync(
    since: Annotated[str | None, typer.Option(metavar="D", help="First day, YYYY-MM-DD; default: what is due.")] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Day to stop before; default: today included.")] = None,
    endpoint: Endpoints = None,
    organization: Labels = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read usage and costs into the warehouse: what is due, or the days asked for."""
    from usage_pipeline.cli.sync import run_sync

    code = run_sync(since=since, until=until, names=endpoint, labels=organization, as_json=as_json, is_quiet=quiet)
    raise typer.Exit(code)


@app.command()
def plan(
    since: Annotated[str | None, typer.Option(metavar="D", help="First day, YYYY-MM-DD; default: what is due.")] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Day to stop before; default: today included.")] = None,
    endpoint: Endpoints = None,
    organization: Labels = None,
    as_json: Json = False,
) -> None:
    """Show what a sync would read now: windows, requests, and why. Nothing is asked."""
    from usage_pipeline.cli.plan import run_plan

    run_plan(since=since, until=until, names=endpoint, labels=organization, as_json=as_json)


@app.command()
def gaps(organization: Labels = None, as_json: Json = False) -> None:
    """Show the days that are missing between known ones, and the command that reads them."""
    from usage_pipeline.cli.plan import run_gaps

    run_gaps(labels=organization, as_json=as_json)


for _stored in (replay, publish, build_marts):
    app.command(_stored.__name__.replace("_", "-"))(_stored)


# A query may begin with a comment, `-- like this`: that is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[
        str | None, typer.Argument(help="A DuckDB query, or - to read it from standard input; without one, a prompt.")
    ] = None,
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
    organization: Label = None,
    as_json: Json = False,
) -> None:
    """Say why the cost changed between two windows: volume, mix, price, new and gone, adding up exactly."""
    from usage_pipeline.cli.explain import run_explain

    run_explain(first=first, second=second, by=by, currency=currency, label=organization, as_json=as_json)


@app.command()
def report(
    month: Annotated[str | None, typer.Option(metavar="M", help="A month, 2026-10; default: the last 30 days.")] = None,
    last: Annotated[int | None, typer.Option(metavar="N", help="The last N closed days.")] = None,
    currency: Annotated[str | None, typer.Option(help="Which currency; default: that of most days' bills.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; default: in the data folder's exports.")
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    organization: Label = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML file of what was spent, why, and how far the figures can be trusted."""
    from usage_pipeline.cli.report import run_report

    run_report(
        month=month, last=last, currency=currency, output=output, label=organization, is_opened=is_opened,
        as_json=as_json, is_quiet=quiet,
    )  # fmt: skip


@app.command()
def check(
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    against_service: Annotated[
        bool, typer.Option("--against-service", help="Also ask the service for the costs' ungrouped totals.")
    ] = False,
    organization: Labels = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run all checks of the data: budgets, anomalies, sums, reconciliation, coverage, freshness; exit 3 on failure."""
    from usage_pipeline.cli.check import run_check

    run_check(
        labels=organization, is_strict=strict, is_against_service=against_service, as_json=as_json, is_quiet=quiet
    )


@app.command()
def verify(
    quick: Annotated[bool, typer.Option("--quick", help="Only the files' hashes: no days, no marts.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare every stored file, day and mart with what was recorded, and name what differs; exit 3 if any does."""
    from usage_pipeline.cli.repair import run_verify

    run_verify(is_quick=quick, as_json=as_json, is_quiet=quiet)


@app.command()
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask the service for nothing.")] = False,
    organization: Labels = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Repair what verify finds, from raw and from what is intact; with a key, read again what neither has."""
    from usage_pipeline.cli.repair import run_doctor

    run_doctor(labels=organization, is_offline=offline, as_json=as_json, is_quiet=quiet)


@app.command()
def maintain(as_json: Json = False, quiet: Quiet = False) -> None:
    """Join small files, and remove those superseded a week ago; weekly is enough. What the warehouse says stays."""
    from usage_pipeline.cli.repair import run_maintain

    run_maintain(as_json=as_json, is_quiet=quiet)


@app.command()
def deploy(
    kind: Annotated[str, typer.Option(help="systemd, compose or helm.")],
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write into; default: deploy-KIND.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Write files that run this elsewhere: systemd units, a compose file, a Helm chart."""
    from usage_pipeline.cli.deploy import run_deploy

    run_deploy(kind, output=output, is_replacing=replace, as_json=as_json)


@app.command()
def status(organization: Labels = None, as_json: Json = False) -> None:
    """Show per endpoint how far it has come: watermark, rows, last sync, gaps."""
    from usage_pipeline.cli.status import run_status

    run_status(labels=organization, as_json=as_json)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open Dagster's web UI and daemon on 127.0.0.1: runs, backfills, schedules."""
    from usage_pipeline.cli.ui import serve_ui
    from usage_pipeline.organizations import Organizations
    from usage_pipeline.settings import Settings

    Organizations.from_env()  # a wrong file is told here, not in a service's log
    raise typer.Exit(serve_ui(Settings.from_env(), port=port))


for _command in (*app.registered_commands, *export.registered_commands):
    _command.short_help = _command.callback and _command.callback.__doc__  # whole, not its first words
