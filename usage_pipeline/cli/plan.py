"""The commands that say what is to be read: `plan` and `gaps`."""

from typing import Any

from usage_pipeline.api.client import CONCURRENCY
from usage_pipeline.cli.console import print_json, say
from usage_pipeline.cli.sync import window_of
from usage_pipeline.cli.tables import print_table
from usage_pipeline.guard import keep_demo_apart
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.organizations import Organizations
from usage_pipeline.plan import PlannedRead, planned_reads
from usage_pipeline.settings import Settings
from usage_pipeline.status import endpoint_status
from usage_pipeline.sync import choose_endpoints
from usage_pipeline.windows import utc_now


def run_plan(
    *, since: str | None, until: str | None, names: list[str] | None, labels: list[str] | None, as_json: bool
) -> None:
    """Print the windows a sync would read now."""
    organizations = Organizations.from_env()
    chosen, endpoints = organizations.choose(labels), choose_endpoints(names)
    window, now = window_of(since, until), utc_now()
    keep_demo_apart(organizations.folder)  # a sync would refuse: there is nothing to plan
    with files_explained("plan"):
        log = CoverageLog(Lake.of(organizations.folder))
        reads = [(one, read) for one in chosen for read in planned_reads(one, log, endpoints, window, now)]
    if as_json:
        print_json([{**_whose(organizations, one), **_as_dict(read)} for one, read in reads])
        return
    title = f"What a sync would read from {', '.join(dict.fromkeys(one.service for one in chosen))}"
    if not organizations.are_several:
        title += f" for organization {chosen[0].organization}"
    print_table(
        title,
        [*(["organization"] if organizations.are_several else []), "endpoint", "window", "days", "requests", "why"],
        [
            (
                *_whose(organizations, one).values(),
                read.endpoint,
                str(read.window),
                len(read.window.dates()),
                read.requests,
                ", ".join(f"{days} {reason}" for reason, days in read.reasons.items()),
            )
            for one, read in reads
        ],
    )
    requests = sum(read.requests for _, read in reads)
    seconds = -(-requests // CONCURRENCY)
    say(
        f"{requests} requests at least, {CONCURRENCY} at a time: about {seconds} s where each takes one second; "
        "names are read beside them."
    )


def _whose(organizations: Organizations, one: Settings) -> dict[str, str]:
    """Whose a row is, where there are several."""
    return {"organization": one.organization} if organizations.are_several else {}


def _as_dict(read: PlannedRead) -> dict[str, Any]:
    return {
        "endpoint": read.endpoint,
        "window": str(read.window),
        "days": len(read.window.dates()),
        "requests": read.requests,
        "why": dict(read.reasons),
    }


def run_gaps(*, labels: list[str] | None, as_json: bool) -> None:
    """Print the missing days of every endpoint."""
    organizations = Organizations.from_env()
    commands = {one.organization: one.command("sync") for one in organizations.choose(labels)}
    rows = [
        (
            one.organization,
            one.endpoint,
            str(gap),
            len(gap.dates()),
            f"{commands.get(one.organization, 'usage-pipeline sync')} --endpoint {one.endpoint} "
            f"--since {gap.start.date()} --until {gap.end.date()}",
        )
        for one in endpoint_status(organizations.folder, utc_now())
        for gap in one.gaps
        if not labels or one.organization in commands
    ]
    columns = ["organization", "endpoint", "missing", "days", "read them with"]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        print_table(None, columns, rows)
    else:
        say("no day is missing between known ones; `usage-pipeline plan` shows what is due.")
