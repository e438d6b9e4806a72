"""Asset checks of `budget_status` and `anomalies`: does it hold, and is the last closed day as usual.

Put these two checks here; the judgement is marts/findings.py's, telling people about it is alerts.py's, which reads the
findings in their metadata.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import dagster as dg

from usage_pipeline.defs.partitions import mart_key
from usage_pipeline.defs.session import SESSION, session_of
from usage_pipeline.defs.several import ORGANIZATION
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.findings import Finding, anomaly_findings, budget_findings

FINDINGS = "findings"  # metadata: key and message of each
_LISTED = 50

# check name -> its mart, what it says, who judges
_CHECKS: dict[str, tuple[str, str, Callable[..., list[Finding]]]] = {
    "budget": (
        "budget_status",
        "No budget of this month is breached, at risk by the forecast, or for what nothing is billed to.",
        budget_findings,
    ),
    "anomaly": ("anomalies", "The last closed day costs what its weekday usually does.", anomaly_findings),
}


def breach_checks() -> list[dg.AssetChecksDefinition]:
    """Both checks, each a step of its own after its mart."""
    return [_check(name) for name in _CHECKS]


def breach_keys() -> list[dg.AssetCheckKey]:
    """Their keys, for those who look up how they went."""
    return [dg.AssetCheckKey(asset_key=mart_key(mart), name=name) for name, (mart, _, _) in _CHECKS.items()]


def verdict(found: Sequence[Finding], whose: Sequence[str] = ()) -> dg.AssetCheckResult:
    """Passed without findings; else a warning, or an error where one of them is."""
    severe = any(one.is_error for one in found)
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description="\n".join(one.message for one in found[:_LISTED]) or None,
        metadata={
            "found": len(found),
            **({ORGANIZATION: ", ".join(whose)} if whose else {}),
            FINDINGS: dg.MetadataValue.json([{"key": one.key, "message": one.message} for one in found[:_LISTED]]),
        },
    )


def _check(name: str) -> dg.AssetChecksDefinition:
    mart, description, judge = _CHECKS[name]

    @dg.asset_check(asset=mart_key(mart), name=name, description=description, required_resource_keys={SESSION})
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        session = session_of(context)
        with session.step(context, name) as report:
            members = session.members
            found = [
                replace(finding, message=f"{one.organization}: {finding.message}") if one.is_one_of_several else finding
                for one in members
                for finding in judge(Lake.of(one), one.organization, explain=one.command("explain"))
            ]
            result = verdict(found, [one.organization for one in members if one.is_one_of_several])
            report.outcome = "passed" if result.passed else "warned"
            return result

    return check
