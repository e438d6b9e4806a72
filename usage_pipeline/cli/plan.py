"""The commands that say what is to be read: `plan` and `gaps`."""

from usage_pipeline.api.client import CONCURRENCY
from usage_pipeline.cli.console import print_json, say
from usage_pipeline.cli.sync import window_of
from usage_pipeline.cli.tables import print_table
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.plan import planned_reads
from usage_pipeline.settings import Settings
from usage_pipeline.status import endpoint_status
from usage_pipeline.sync import choose_endpoints
from usage_pipeline.windows import utc_now


def run_plan(*, since: str | None, until: str | None, names: list[str] | None, as_json: bool) -> None:
    """Print the windows a sync would read now."""
    settings = Settings.from_env()
    window = window_of(since, until)
    with files_explained("plan"):
        log = CoverageLog(Lake(settings.lake_dir))
        reads = planned_reads(settings, log, choose_endpoints(names), window, utc_now())
    if as_json:
        print_json(
            [
                {
                    "endpoint": one.endpoint,
                    "window": str(one.window),
                    "days": len(one.window.dates()),
                    "requests": one.requests,
                    "why": dict(one.reasons),
                }
                for one in reads
            ]
        )
        return
    print_table(
        f"What a sync would read from {settings.service} for organization {settings.organization}",
        ["endpoint", "window", "days", "requests", "why"],
        [
            (
                one.endpoint,
                str(one.window),
                len(one.window.dates()),
                one.requests,
                ", ".join(f"{days} {reason}" for reason, days in one.reasons.items()),
            )
            for one in reads
        ],
    )
    requests = sum(one.requests for one in reads)
    seconds = -(-requests // CONCURRENCY)
    say(
        f"{requests} requests at least, {CONCURRENCY} at a time: about {seconds} s where each takes one second; "
        "names are read beside them."
    )


def run_gaps(*, as_json: bool) -> None:
    """Print the missing days of every endpoint."""
    settings = Settings.from_env()
    found = [(one, gap) for one in endpoint_status(settings, utc_now()) for gap in one.gaps]
    rows = [
        (
            one.organization,
            one.endpoint,
            str(gap),
            len(gap.dates()),
            f"usage-pipeline sync --endpoint {one.endpoint} --since {gap.start.date()} --until {gap.end.date()}",
        )
        for one, gap in found
    ]
    columns = ["organization", "endpoint", "missing", "days", "read them with"]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        print_table(None, columns, rows)
    else:
        say("no day is missing between known ones; `usage-pipeline plan` shows what is due.")
