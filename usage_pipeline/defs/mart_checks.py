"""Asset checks of the money marts: parts add up to the bill, usage explains it, FOCUS's rules are kept.

Put verdicts on marts here, each a step of its own after its mart; the facts are gathered by marts/checks.py.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg

from usage_pipeline.defs.partitions import mart_key, window_of
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.defs.several import merged
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.checks import (
    UNSETTLED_DAYS,
    NotComparable,
    UnallocatedDifference,
    Unreconciled,
    not_comparable,
    unallocated_difference,
    unreconciled,
)
from usage_pipeline.marts.focus_columns import VERSIONS, Version
from usage_pipeline.marts.focus_rules import BrokenRule, broken_rules
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window

_LISTED = 200  # Dagster keeps metadata for ever; the mart has the rest

_Judge = Callable[[Settings, Window], dg.AssetCheckResult]


def mart_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of `cost_allocated`, `reconciliation_daily` and `focus`."""

    def allocated(settings: Settings, window: Window) -> dg.AssetCheckResult:
        return judge_allocation(unallocated_difference(Lake.of(settings), settings.organization, window))

    def reconciled(settings: Settings, window: Window) -> dg.AssetCheckResult:
        lake, tolerance = Lake.of(settings), settings.reconciliation_tolerance
        found = unreconciled(lake, settings.organization, window, tolerance)
        return judge_reconciliation(found, not_comparable(lake, settings.organization, window), tolerance)

    return [
        _check(
            "cost_allocated",
            "sums_to_the_bill",
            "The parts of every billed row of the run's days add up to it, to the last digit.",
            allocated,
        ),
        _check(
            "reconciliation_daily",
            "usage_explains_the_bill",
            "Usage at list prices is near the bill (USAGE_PIPELINE_RECONCILIATION_TOLERANCE), on every settled day of "
            "every project and model family; what has no price is not judged, but told.",
            reconciled,
            unsettled_days=UNSETTLED_DAYS,
        ),
        *map(_focus_check, VERSIONS),
    ]


def _focus_check(version: Version) -> dg.AssetChecksDefinition:
    def conforms(settings: Settings, window: Window) -> dg.AssetCheckResult:
        return judge_focus(broken_rules(Lake.of(settings), version, settings.organization, window))

    return _check(
        "focus",
        f"conforms_to_focus_{version.replace('.', '_')}",
        f"The run's days keep FOCUS {version}'s rules: columns there, nulls, allowed values, units, periods.",
        conforms,
    )


def judge_allocation(found: Sequence[UnallocatedDifference]) -> dg.AssetCheckResult:
    """Fail where a sum differs: the mart is not of this bill."""
    problem = (
        f"{len(found)} billing lines and their parts differ: the bill changed after the mart was built, so materialize "
        "marts/cost_allocated for these days; if they still differ, the split is wrong: please report it."
    )
    columns = ("date", "project_id", "line_item", "currency", "billed", "allocated")
    return _verdict(problem if found else None, dg.AssetCheckSeverity.ERROR, found, columns)


def judge_reconciliation(
    found: Sequence[Unreconciled], beside: Sequence[NotComparable], tolerance: Decimal
) -> dg.AssetCheckResult:
    """Warn where estimate and bill are far apart, and say what was not compared.

    OpenAI itself says that usage and costs may not agree, so this is to be looked at, not to fail.
    """
    problem = (
        f"{len(found)} days of model families are off their bill by more than {tolerance:.0%}, first: {found[0].date}, "
        f"{found[0].model_family or 'all models'}. Read these days again; look at marts.unpriced_models for missing "
        "prices (prices.csv in the data folder adds them) and at marts.reconciliation_daily. The bill is what counts."
        if found
        else None
    )
    columns = ("date", "project_id", "model_family", "currency", "billed", "estimated", "assumed", "delta")
    beside_rows = dg.MetadataValue.json(_listed(beside, ("model_family", "currency", "amount")))
    return _verdict(problem, dg.AssetCheckSeverity.WARN, found, columns, not_comparable=beside_rows)


def judge_focus(found: Sequence[BrokenRule]) -> dg.AssetCheckResult:
    """Fail where a rule is broken; what the service itself does not say is listed and does not fail."""
    broken = [one for one in found if not one.is_known_gap]
    problem = (
        f"{len(broken)} rules are broken, first: {broken[0].column} {broken[0].rule} ({broken[0].rows} rows). Exports "
        "would be refused by whoever validates them: please report it, with these rules."
        if broken
        else None
    )
    return _verdict(problem, dg.AssetCheckSeverity.ERROR, found, ("column", "rule", "rows", "is_known_gap"))


def _check(mart: str, name: str, description: str, judge: _Judge, unsettled_days: int = 0) -> dg.AssetChecksDefinition:
    """A check with a step of its own, over the run's days, or all of them where it is run by itself."""

    @dg.asset_check(asset=mart_key(mart), name=name, description=description, required_resource_keys={SESSION})
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        session = session_of(context)
        with session.step(context, name) as report:
            tomorrow, tags = session.now.date() + timedelta(days=1), context.run.tags
            end = tomorrow - timedelta(days=unsettled_days)
            found = []
            for one in session.members:
                window = window_of(tags) or Window.of_days(one.first_day(session.now.date()), tomorrow)
                found.append((one, _judged(judge, one, [day for day in window.dates() if day < end])))
            result = merged(found)
            report.outcome = "passed" if result.passed else "warned"
            return result

    return check


def _judged(judge: _Judge, settings: Settings, days: Sequence[date]) -> dg.AssetCheckResult:
    if not days:
        return _verdict(None, dg.AssetCheckSeverity.WARN, [], ())
    return judge(settings, Window.of_days(days[0], days[-1] + timedelta(days=1)))


def _verdict(
    problem: str | None,
    severity: dg.AssetCheckSeverity,
    found: Sequence[UnallocatedDifference | Unreconciled | BrokenRule],
    columns: Sequence[str],
    **more: dg.MetadataValue[Any],
) -> dg.AssetCheckResult:
    """Passed, or not with the problem, what to do, and the first findings."""
    return dg.AssetCheckResult(
        passed=problem is None,
        severity=severity,
        description=problem,
        metadata={"found": len(found), "rows": dg.MetadataValue.json(_listed(found, columns)), **more},
    )


def _listed(found: Sequence[object], columns: Sequence[str]) -> list[dict[str, object]]:
    """The first findings, column by column."""
    return [{name: _text(getattr(one, name)) for name in columns} for one in found[:_LISTED]]


def _text(value: object) -> object:
    """What JSON can hold as it is; an amount with all its digits and no others, for JSON numbers are floats."""
    if value is None or isinstance(value, bool | int):
        return value
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text.rstrip("0").rstrip(".") if isinstance(value, Decimal) and "." in text else text
