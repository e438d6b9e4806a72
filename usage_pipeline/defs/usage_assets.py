"""One asset per row of the endpoint table: reads its window, replaces it in the lake, reports and checks it.

Put what an endpoint's step does here; how the steps' reads run concurrently is session.py's, what a check says
checks.py's.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg

from usage_pipeline.defs.checks import FRESH, UsageFacts, check_specs, judge
from usage_pipeline.defs.columns import OWNERS, usage_columns
from usage_pipeline.defs.partitions import (
    Spread,
    asset_window,
    partition_key,
    read_here,
    tell_newest,
    usage_key,
)
from usage_pipeline.defs.pictures import DAYS_SHOWN, day_bars, fact_table
from usage_pipeline.defs.session import SESSION, Session, session_of
from usage_pipeline.defs.several import together
from usage_pipeline.endpoint_sync import EndpointSync
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.ledger import CoverageLog, DayState, day_states
from usage_pipeline.lake.quality import negative_measures, restated_rows
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window

_COUNTS = ("requests", "retries", "pages", "bytes", "buckets", "rows", "inserted", "updated", "deleted", "restated")


RAW = dg.AssetSpec(
    "raw",
    group_name="raw",
    description="Every page as the service sent it, archived by the read that then replaces days of a table below. "
    "No step of its own: materialize a table.",
    owners=OWNERS,
    kinds={"openai", "file"},
)


def usage_assets(spread: Spread, pool: str | None) -> list[dg.AssetsDefinition]:
    """The assets of all endpoints; the pool is that of steps that ask the service."""
    return [_usage_asset(endpoint, spread, pool) for endpoint in ENDPOINTS.values()]


def _usage_asset(endpoint: Endpoint, spread: Spread, pool: str | None) -> dg.AssetsDefinition:
    key = usage_key(endpoint.name)

    @dg.asset(
        key=key,
        group_name="usage",
        deps=[RAW],
        description=endpoint.description,
        owners=OWNERS,
        kinds={"openai", "deltalake"},
        metadata={
            "dagster/column_schema": usage_columns(endpoint),
            "dagster/table_name": f"usage.{endpoint.name}",
            "path": endpoint.path,
        },
        partitions_def=spread.partitions,
        backfill_policy=spread.policy,
        check_specs=check_specs(key),
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=FRESH),
        required_resource_keys={SESSION},
        pool=pool,
    )
    def usage(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, key.to_user_string()) as report:
            window = asset_window(context)
            report.facts = {"endpoint": endpoint.name, "window": str(window)}
            read = session.read(endpoint, window, read_here(context))
            outcomes = {done.outcome for _, done in read}
            report.outcome = "replaced" if "replaced" in outcomes else "unchanged"
            report.rows = sum(done.total("rows") for _, done in read)
            return together([(one, _materialized(context, session, one, endpoint, window, done)) for one, done in read])

    return usage


def _materialized(
    context: dg.AssetExecutionContext,
    session: Session,
    settings: Settings,
    endpoint: Endpoint,
    window: Window,
    done: EndpointSync,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What the step tells of an organization: facts of the run, facts of each day, and the checks' verdicts."""
    lake = Lake.of(settings)
    first = min(settings.first_day(session.now.date()), window.start.date())
    end = max(session.now.date() + timedelta(days=1), window.end.date())
    states = day_states(CoverageLog(lake), settings.organization, endpoint.name, Window.of_days(first, end))
    restated = restated_rows(lake, settings.organization, endpoint, session.sync_id) if done.total("restated") else {}
    for day, day_facts in _day_facts(window, states, restated, done).items():
        context.add_asset_metadata(day_facts, partition_key=partition_key(settings, day))
    facts = UsageFacts(
        endpoint=endpoint,
        window=window,
        today=session.now.date(),
        now=session.now,
        states=states,
        drift=done.notes("drift"),
        negative=negative_measures(lake, settings.organization, endpoint, window),
        sync_command=settings.command("sync"),
    )
    if done.outcome == "replaced":  # else nothing was archived
        whose = {"organization": settings.organization} if settings.is_one_of_several else {}
        sizes = {name: done.total(name) for name in ("pages", "bytes")}
        context.log_event(dg.AssetMaterialization(RAW.key, metadata={"endpoint": endpoint.name, **whose, **sizes}))
    tell_newest(context, settings, window, _seen_days(window, states, restated))
    return dg.MaterializeResult(metadata=_run_facts(settings, window, done), check_results=judge(facts))


def _seen_days(window: Window, states: Mapping[date, DayState], restated: Mapping[date, int]) -> dict[str, Any]:
    """All known days drawn, and the newest of the window as a table; nothing where no day is known."""
    seen = [day for day in window.dates() if day in states][-DAYS_SHOWN:]
    rows: list[dict[str, str | int]] = [
        {"day": str(day), "rows": states[day].rows, "restated": restated.get(day, 0)} for day in reversed(seen)
    ]
    drawn = {"rows": day_bars({day: state.rows for day, state in states.items()}, "rows a day")} if states else {}
    return drawn | ({"days": fact_table(rows)} if rows else {})


def _run_facts(settings: Settings, window: Window, done: EndpointSync) -> dict[str, Any]:
    """Facts of the whole window; upstream text as json or plain text only, for Dagster renders what is markdown."""
    return {
        "service": settings.service,
        "window": str(window),
        "outcome": done.outcome,
        "seconds": round(done.seconds, 3),
        **{f"run_{name}": done.total(name) for name in _COUNTS},
        "drift": dg.MetadataValue.json(done.notes("drift")),
        "notes": dg.MetadataValue.json(done.notes("notes")),
    }


def _day_facts(
    window: Window, states: Mapping[date, DayState], restated: Mapping[date, int], done: EndpointSync
) -> dict[date, dict[str, Any]]:
    """Facts of each day of the window that the lake now knows."""
    widths = sorted({row["bucket_width"] for row in done.rows})
    return {
        day: {
            "dagster/partition_row_count": states[day].rows,
            "restated_rows": restated.get(day, 0),
            "content_hash": states[day].content_hash,
            "bucket_width": ", ".join(widths),
        }
        for day in window.dates()
        if day in states
    }
