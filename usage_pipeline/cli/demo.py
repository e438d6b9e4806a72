"""The `demo` command: the whole pipeline against a made-up organization, with no key and no network."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.cli.console import money_text, out, print_json, progress, say
from usage_pipeline.cli.tables import print_table
from usage_pipeline.defs.run import JobResult, run_sync_job
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.guard import keep_demo_apart
from usage_pipeline.lake.query import ask
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.labels import labelled, last_names
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.name_lists import LISTS
from usage_pipeline.organizations import DEMO_ORGANIZATION
from usage_pipeline.settings import Settings
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.windows import Window, utc_now

QUERIES = (
    "from top_spenders(5)",
    "select date, sum(amount) as usd\n    from marts.cost_daily group by date order by date",
    "select model, sum(output_tokens) as tokens\n    from marts.usage_daily_by_model group by model",
)
_COST_DAYS = 3
_OTHER_STEPS = 3  # the check of costs against usage, publishing, and the report

_ROWS = """
select endpoint, min(date) as first_day, max(date) as last_day, sum(rows)::bigint as rows
from meta.coverage where organization = $organization group by endpoint
"""
_COSTS = """
select project_id, date, sum(amount) as amount
from marts.cost_daily_by_project
where organization = $organization and currency = 'usd' and date > $after
group by all
"""


def run_demo(*, days: int, seed: int, as_json: bool) -> int:
    """Serve, run the sync job, show what came of it; 0 where every endpoint arrived, else 1."""
    now = utc_now()
    window = Window.of_days(now.date() - timedelta(days=days - 1), now.date() + timedelta(days=1))
    configured = Settings.from_env()
    organization = Organization(seed, VirtualClock(now, ticking=True))
    with LoopbackServer(create_app(organization)) as server:
        settings = configured.model_copy(
            update={
                "admin_key": Settings(OPENAI_ADMIN_KEY="sk-admin-demo").admin_key,
                "base_url": server.base_url,
                "organization": DEMO_ORGANIZATION,
                "bucket_width": "1d",
                "lake_url": None,  # made-up rows stay on this machine
                "start_date": min(window.start.date(), configured.first_day(now.date())),
            }
        )
        keep_demo_apart(settings)
        say(f"serving a made-up organization at {server.base_url}; syncing {window} with Dagster's sync_usage job")
        result = _run(settings, window, is_quiet=as_json)
    if as_json:
        print_json(_as_dict(settings, window, result))
    else:
        _show(settings, window)
    for asset, reason in result.failures.items():
        say(f"usage-pipeline: {asset}: {reason}")
    return 0 if result.is_success else 1


def _run(settings: Settings, window: Window, *, is_quiet: bool) -> JobResult:
    """The job, with a bar of its steps."""
    steps = len(ENDPOINTS) + len(LISTS) + len(load_marts()) + _OTHER_STEPS
    with progress(quiet=is_quiet) as tell:
        done = count(1)
        return run_sync_job(settings, window, on_event=lambda _: tell("Dagster's steps", next(done), steps))


def _rows(settings: Settings) -> list[tuple[str, date, date, int]]:
    """Per table its first day, last day and rows."""
    with ask(settings.warehouse_path, settings.lake_dir, _ROWS, {"organization": settings.organization}) as answer:
        found = {row[0]: row for row in answer.rows}
    return [(f"usage.{name}", *found[name][1:]) for name in ENDPOINTS if name in found]


def _costs(settings: Settings, window: Window) -> dict[tuple[str, date], Decimal]:
    """What each project cost on each of the last days, USD."""
    asked = {"organization": settings.organization, "after": window.end.date() - timedelta(days=_COST_DAYS + 1)}
    with ask(settings.warehouse_path, settings.lake_dir, _COSTS, asked) as answer:
        found = list(answer.rows)
    names = last_names(Lake.of(settings), settings.organization, "project")
    return {(labelled(project, "project", names), day): amount for project, day, amount in found}


def _show(settings: Settings, window: Window) -> None:
    """Rows per endpoint, the last days' cost by project, and how to go on."""
    print_table("Rows per endpoint", ["table", "first day", "last day", "rows"], _rows(settings))
    costs = _costs(settings, window)
    shown = sorted({day for _, day in costs})
    days = [str(day) for day in shown]
    print_table(
        "Cost by project, USD",
        ["project", *days],
        [
            (project, *(money_text(costs.get((project, day))) for day in shown))
            for project in sorted({one for one, _ in costs})
        ],
        right=days,
    )
    out().print(_next_steps(settings, window), markup=False)


def _as_dict(settings: Settings, window: Window, result: JobResult) -> dict[str, Any]:
    return {
        "window": str(window),
        "succeeded": result.is_success,
        "failures": dict(result.failures),
        "tables": [
            {"table": table, "first_day": first, "last_day": last, "rows": rows}
            for table, first, last, rows in _rows(settings)
        ],
        "costs": [
            {"project": project, "date": day, "usd": amount}
            for (project, day), amount in sorted(_costs(settings, window).items())
        ],
        "warehouse": str(settings.warehouse_path),
    }


def _next_steps(settings: Settings, window: Window) -> str:
    """What to try now; no line of it needs more than 60 columns, so that it can be copied from any terminal."""
    end = window.end.date() - timedelta(days=1)  # today is not over
    compared = timedelta(days=max(1, min(7, (len(window.dates()) - 1) // 2)))
    begin, middle = end - 2 * compared, end - compared
    queries = "\n".join(f'  usage-pipeline sql "{query}"' for query in QUERIES)
    return f"""
The warehouse, for any DuckDB client, also while a sync
writes: {settings.warehouse_path}

Three queries to try (with uv: put `uv run` in front):
{queries}

Why the last days cost more or less than those before, and
what should be looked at:
  usage-pipeline explain --by model \\
    --from {begin}..{middle} \\
    --to {middle}..{end}
  usage-pipeline check

The same as one page with charts, written by the run just
now; --open shows it:
  usage-pipeline report --open

See the run, backfill days, turn on the schedule:
  usage-pipeline ui

Go on with your own organization, in a folder of its own:
  export OPENAI_ADMIN_KEY=sk-admin-... # reads api.usage
  export USAGE_PIPELINE_DATA_DIR=my-usage
  usage-pipeline sync"""
