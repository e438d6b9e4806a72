"""All checks of the data, over the lake as it is: what `usage-pipeline check` answers.

Put which checks there are here; each one's judgement is in marts/findings.py, marts/checks.py or status.py.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.checks import UNSETTLED_DAYS, not_comparable, unallocated_difference, unreconciled
from usage_pipeline.marts.findings import Finding, anomaly_findings, budget_findings
from usage_pipeline.marts.focus_columns import VERSIONS
from usage_pipeline.marts.focus_rules import broken_rules
from usage_pipeline.marts.labels import labelled, last_names
from usage_pipeline.settings import Settings
from usage_pipeline.status import EndpointStatus, endpoint_status
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window

CHECKS = ("budget", "anomaly", "allocation", "reconciliation", "focus", "coverage", "freshness")
FRESH = timedelta(hours=36)  # a daily run, and half a day for it to be late
_RECONCILED_DAYS = 30
_LISTED = 5


def run_checks(settings: Settings, now: datetime) -> list[Finding]:
    """Bring the marts up to date (budgets.csv may have changed) and run every check, errors first.

    Raises:
        FixConfig: nothing was synced yet, or a file people write is wrong.
    """
    return run_checks_of([settings], now)[settings.organization]


def run_checks_of(members: Sequence[Settings], now: datetime) -> dict[str, list[Finding]]:
    """The same for several organizations, by label; one of which nothing is known yet is an error of its own.

    Raises:
        FixConfig: nothing was synced of any of them yet, or a file people write is wrong.
    """
    states: dict[str, list[EndpointStatus]] = {one.organization: [] for one in members}
    for state in endpoint_status(members[0], now):
        states.get(state.organization, []).append(state)
    if not any(one.first_day for known in states.values() for one in known):
        raise FixConfig("there is nothing to check yet: run `usage-pipeline sync` or `usage-pipeline demo` first.")
    refresh(members[0])
    return {one.organization: _findings(one, states[one.organization], now) for one in members}


def _findings(settings: Settings, states: Sequence[EndpointStatus], now: datetime) -> list[Finding]:
    known = [one for one in states if one.first_day and one.last_day]
    if not known:
        return [_never_read(settings)]
    lake, organization = Lake.of(settings), settings.organization
    days = [day for one in known for day in (one.first_day, one.last_day) if day]
    window = Window.of_days(min(days), max(days) + timedelta(days=1))
    found = [
        *budget_findings(lake, organization, explain=settings.command("explain")),
        *anomaly_findings(lake, organization, explain=settings.command("explain")),
        *_allocation(lake, organization, window),
        *_reconciliation(lake, organization, window, settings.reconciliation_tolerance, now.date()),
        *_focus(lake, organization, window),
        *(finding for one in states for finding in _coverage(one, settings.command("sync"))),
        *_freshness(states, now, settings.command("sync")),
    ]
    return sorted(found, key=lambda one: (not one.is_error, CHECKS.index(one.check)))


def _never_read(settings: Settings) -> Finding:
    key = f"coverage|{settings.organization}|never read"
    message = f"nothing of organization {settings.organization} was ever read: run `{settings.command('sync')}`."
    return Finding(check="coverage", is_error=True, key=key, message=message)


def _allocation(lake: Lake, organization: str, window: Window) -> list[Finding]:
    wrong = unallocated_difference(lake, organization, window)
    return [
        Finding(
            check="allocation",
            is_error=True,
            key=f"allocation|{organization}|{one.date}|{one.project_id}|{one.line_item}|{one.currency}",
            message=(
                f"{one.date}, project {one.project_id}, {one.line_item}: {one.billed} {one.currency} is billed and "
                f"{one.allocated} allocated: run `usage-pipeline publish`; if it stays, report it ({len(wrong)} lines)."
            ),
        )
        for one in wrong[:_LISTED]
    ]


def _reconciliation(lake: Lake, organization: str, window: Window, tolerance: Decimal, today: date) -> list[Finding]:
    """One warning with the widest gap: list prices need not meet the bill, so this is to be looked at, not to fail."""
    end = min(window.end.date(), today + timedelta(days=1 - UNSETTLED_DAYS))
    first = max(window.start.date(), end - timedelta(days=_RECONCILED_DAYS))
    if first >= end:
        return []
    recent = Window.of_days(first, end)
    wrong = unreconciled(lake, organization, recent, tolerance)
    if not wrong:
        return []
    worst, days = wrong[0], {one.date for one in wrong}
    project = labelled(worst.project_id, "project", last_names(lake, organization, "project"))
    return [
        Finding(
            check="reconciliation",
            is_error=False,
            key=f"reconciliation|{organization}|{end}",
            message=(
                f"on {len(days)} days of {recent} model families are off their bill by more than {tolerance:.0%} "
                f"({len(wrong)} in all), most {worst.date}, project {project}, {worst.model_family or 'all models'}: "
                f"{worst.billed:,.2f} {worst.currency} billed, {worst.estimated:,.2f} estimated."
                f"{_not_comparable(lake, organization, recent)} See marts.reconciliation_daily and "
                "marts.unpriced_models; put your own prices in prices.csv."
            ),
        )
    ]


def _not_comparable(lake: Lake, organization: str, window: Window) -> str:
    """What was billed besides and cannot be judged, per currency."""
    amounts: dict[str | None, Decimal] = {}
    for one in not_comparable(lake, organization, window):
        amounts[one.currency] = amounts.get(one.currency, Decimal(0)) + one.amount
    return "".join(f" Not comparable: {amount:,.2f} {currency}." for currency, amount in amounts.items())


def _focus(lake: Lake, organization: str, window: Window) -> list[Finding]:
    """Rules of FOCUS that the rows break; what the service does not say is no fault of theirs."""
    return [
        Finding(
            check="focus",
            is_error=True,
            key=f"focus|{organization}|{version}|{one.column}|{one.rule}",
            message=(
                f"FOCUS {version}: {one.column} {one.rule}, but not in {one.rows} rows of marts.focus: run "
                "`usage-pipeline publish`; if it stays, report it."
            ),
        )
        for version in VERSIONS
        for one in broken_rules(lake, version, organization, window)
        if not one.is_known_gap
    ]


def _coverage(one: EndpointStatus, sync: str) -> list[Finding]:
    if one.first_day is None:
        message = f"{one.endpoint} was never read: run `{sync} --endpoint {one.endpoint}`."
    elif one.gaps:
        first, last = one.gaps[0], one.gaps[-1]
        listed = ", ".join([*map(str, one.gaps[:_LISTED]), *(["..."] if one.gaps[_LISTED:] else [])])
        message = (
            f"{one.endpoint} lacks {listed}: run "
            f"`{sync} --endpoint {one.endpoint} --since {first.start.date()} --until {last.end.date()}`."
        )
    else:
        return []
    key = f"coverage|{one.organization}|{one.endpoint}|{','.join(map(str, one.gaps))}"
    return [Finding(check="coverage", is_error=False, key=key, message=message)]


def _freshness(states: Sequence[EndpointStatus], now: datetime, sync: str) -> list[Finding]:
    """One warning for all endpoints that were not read for too long, or not up to yesterday."""
    old = [one.endpoint for one in states if one.last_sync is not None and _is_old(one.last_sync, one.last_day, now)]
    if not old:
        return []
    message = f"not read up to now: {', '.join(old)}. Run `{sync}`, and turn on the schedule daily_sync."
    return [
        Finding(
            check="freshness",
            is_error=False,
            key=f"freshness|{states[0].organization}|{','.join(old)}",
            message=message,
        )
    ]


def _is_old(last_sync: datetime, last_day: date | None, now: datetime) -> bool:
    return now - last_sync > FRESH or last_day is None or last_day < (now - FRESH).date()
