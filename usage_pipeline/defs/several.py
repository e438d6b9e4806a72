"""What a step tells where there are several organizations: whose it is, and of more than one, each one's share.

Put joining of several organizations' results here. A run is mostly of one, for so the schedule asks; a backfill of
fewer days than organizations comes as runs of a day and several of them. Of an only organization all stays as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from usage_pipeline.settings import Settings

ORGANIZATION = "organization"  # metadata: whose


def merged(found: Sequence[tuple[Settings, dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    """One check's results as one: passed where all are, an error where one is."""
    if not any(one.is_one_of_several for one, _ in found):
        return found[0][1]
    failed = [(one.organization, result) for one, result in found if not result.passed]
    is_error = any(result.severity == dg.AssetCheckSeverity.ERROR for _, result in failed)
    first = found[0][1]
    return dg.AssetCheckResult(
        asset_key=first.asset_key,
        check_name=first.check_name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description="\n".join(f"{label}: {result.description}" for label, result in failed) or None,
        metadata=_metadata([(one, result.metadata or {}) for one, result in found]),
    )


def together(found: Sequence[tuple[Settings, dg.MaterializeResult]]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One step's results as one, with the checks it answers."""
    if not any(one.is_one_of_several for one, _ in found):
        return found[0][1]
    checks = zip(*(result.check_results or [] for _, result in found), strict=True)
    whose = [one for one, _ in found]
    return dg.MaterializeResult(
        metadata=_metadata([(one, result.metadata or {}) for one, result in found]),
        check_results=[merged(list(zip(whose, results, strict=True))) for results in checks],
    )


def _metadata(found: Sequence[tuple[Settings, Mapping[str, Any]]]) -> dict[str, Any]:
    """The facts of one organization as they are; of several each under its label."""
    whose = ", ".join(one.organization for one, _ in found)
    if len(found) == 1:
        return {ORGANIZATION: whose, **found[0][1]}
    facts = {f"{one.organization}: {name}": value for one, facts in found for name, value in facts.items()}
    return {ORGANIZATION: whose, **facts}
