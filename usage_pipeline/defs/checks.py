"""Asset checks of the endpoints: what is judged, and what the message tells the operator to do.

Put verdicts here, as functions of facts already at hand; the facts are gathered by the asset's own step, so that
four checks cost no step of their own. The one check over several endpoints has a step: it needs them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from usage_pipeline.defs.partitions import usage_key, window_of
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.defs.several import merged
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.ledger import DayState
from usage_pipeline.lake.quality import unmatched_costs
from usage_pipeline.lake.store import Lake
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_runs, day_start

FRESH = timedelta(hours=36)  # a daily run, and half a day for it to be late
_SETTLING_DAYS = 2  # bills lag usage by hours: younger days are not compared
_DESCRIPTIONS = {
    "drift": "No field, value or digit in this run that the endpoint table does not know.",
    "completeness": "Every day of the run's window is known, and no day is missing between the first known and today.",
    "non_negative": "No count or quantity is below zero (amounts may be: credits).",
    "freshness": f"Usage is known up to less than {FRESH.total_seconds() / 3600:g} hours ago.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageFacts:
    """What the checks of one endpoint judge: the run's window and findings, and the known days up to today."""

    endpoint: Endpoint
    window: Window
    today: date
    now: datetime
    states: Mapping[date, DayState]
    drift: Sequence[str]
    negative: Mapping[date, Sequence[str]]
    sync_command: str = "usage-pipeline sync"


def check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks every endpoint's own step answers."""
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in _DESCRIPTIONS.items()]


def judge(facts: UsageFacts) -> list[dg.AssetCheckResult]:
    """All verdicts of one endpoint's step."""
    return [drift(facts), completeness(facts), non_negative(facts), freshness(facts)]


def drift(facts: UsageFacts) -> dg.AssetCheckResult:
    """Warn of what the service sent and the endpoint table does not know: kept in `extras`, never lost."""
    if not facts.drift:
        return _verdict(facts, "drift")
    return _verdict(
        facts,
        "drift",
        "The service sent what the endpoint table does not know; it is kept in `extras`. "
        "Look at the list and add the fields to the row in endpoints.py.",
        found={"drift": dg.MetadataValue.json(list(facts.drift))},
    )


def completeness(facts: UsageFacts) -> dg.AssetCheckResult:
    """Fail for closed days the run should have brought; warn of days nobody has read yet."""
    missing = [day for day in facts.window.dates() if day not in facts.states and day < facts.today]
    if missing:
        return _verdict(
            facts,
            "completeness",
            f"{len(missing)} days of the run's window are not known: materialize them again.",
            dg.AssetCheckSeverity.ERROR,
            {"missing": _days(missing)},
        )
    first = min(facts.states, default=facts.today)
    since_first = Window.of_days(first, max(facts.today, first) + timedelta(days=1)).dates()
    gaps = [day for day in since_first if day not in facts.states]
    if not gaps:
        return _verdict(facts, "completeness")
    return _verdict(
        facts,
        "completeness",
        f"{len(gaps)} days between {first} and today were never read: backfill those partitions, "
        f"or run `{facts.sync_command} --since {gaps[0]} --until {gaps[-1] + timedelta(days=1)}`.",
        found={"missing": _days(gaps)},
    )


def non_negative(facts: UsageFacts) -> dg.AssetCheckResult:
    """Fail for counts below zero: sums over them would lie."""
    if not facts.negative:
        return _verdict(facts, "non_negative")
    found = {day.isoformat(): list(names) for day, names in facts.negative.items()}
    return _verdict(
        facts,
        "non_negative",
        "The service sent counts below zero. Materialize these days again later; if they stay, ask its support.",
        dg.AssetCheckSeverity.ERROR,
        {"negative": dg.MetadataValue.json(found)},
    )


def freshness(facts: UsageFacts) -> dg.AssetCheckResult:
    """Warn where usage is not known up to nearly now, though this run succeeded (it read older days)."""
    known_until = max(
        (min(state.checked_at, day_start(day + timedelta(days=1))) for day, state in facts.states.items()), default=None
    )
    if known_until is not None and facts.now - known_until < FRESH:
        return _verdict(facts, "freshness")
    return _verdict(
        facts,
        "freshness",
        f"Usage is known only up to {known_until:%Y-%m-%d %H:%M} UTC: run the job sync_usage up to today, and turn on "
        "the schedule daily_sync."
        if known_until
        else "Nothing is known yet: run the job sync_usage.",
        found={"known_until": known_until.isoformat() if known_until else "never"},
    )


def _verdict(
    facts: UsageFacts,
    name: str,
    problem: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
    found: Mapping[str, object] | None = None,
) -> dg.AssetCheckResult:
    """Passed, or not with the problem and what to do."""
    return dg.AssetCheckResult(
        asset_key=usage_key(facts.endpoint.name),
        check_name=name,
        passed=problem is None,
        severity=severity,
        description=problem,
        metadata={"window": str(facts.window), **(found or {})},  # type: ignore[dict-item]
    )


def _days(days: Sequence[date]) -> dg.JsonMetadataValue:
    """Days as the fewest windows, for a gap may be a year."""
    return dg.MetadataValue.json([str(window) for window in day_runs(list(days))])


def costs_check() -> dg.AssetChecksDefinition:
    """The check that compares the bill with all usage, per day and project."""
    money = next(endpoint for endpoint in ENDPOINTS.values() if endpoint.is_money)
    others = [usage_key(endpoint.name) for endpoint in ENDPOINTS.values() if not endpoint.is_money]

    @dg.asset_check(
        asset=usage_key(money.name),
        name="costs_have_usage",
        additional_deps=others,
        description="Every settled day and project that is billed has usage, and the reverse.",
        required_resource_keys={SESSION},
    )
    def costs_have_usage(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        session = session_of(context)
        with session.step(context, "costs_have_usage") as report:
            tags, today = context.run.tags, session.now.date()
            result = merged([(one, _matched(one, window_of(tags), today)) for one in session.members])
            report.outcome = "passed" if result.passed else "warned"
            return result

    return costs_have_usage


def _matched(settings: Settings, asked: Window | None, today: date) -> dg.AssetCheckResult:
    """An organization's bill against its usage, over the days asked for or all of them."""
    window = asked or Window.of_days(settings.first_day(today), today + timedelta(days=1))
    found = unmatched_costs(Lake.of(settings), settings.organization, window)
    settled = today - timedelta(days=_SETTLING_DAYS)
    billed = [pair for pair in found.billed_without_usage if pair[0] < settled]
    return _compared(window, billed, [pair for pair in found.used_without_bill if pair[0] < settled])


def _compared(
    window: Window, billed: Sequence[tuple[date, str | None]], used: Sequence[tuple[date, str | None]]
) -> dg.AssetCheckResult:
    problem = (
        f"{len(billed)} days and projects are billed without usage, {len(used)} are used without a bill. Read these "
        "days again; what stays is a fee or free use (moderations, small vector stores), or a question for support."
    )
    return dg.AssetCheckResult(
        passed=not billed and not used,
        severity=dg.AssetCheckSeverity.WARN,
        description=problem if billed or used else None,
        metadata={
            "window": str(window),
            "billed_without_usage": dg.MetadataValue.json(_pairs(billed)),
            "used_without_bill": dg.MetadataValue.json(_pairs(used)),
        },
    )


def _pairs(pairs: Sequence[tuple[date, str | None]]) -> list[dict[str, str | None]]:
    return [{"date": day.isoformat(), "project_id": project} for day, project in pairs]
