"""The `check` command."""

from dataclasses import asdict
from datetime import datetime

from usage_pipeline.check import CHECKS, run_checks_of
from usage_pipeline.cli.console import out, print_json
from usage_pipeline.cli.tables import print_table
from usage_pipeline.errors import CheckFailed, UsagePipelineError
from usage_pipeline.guard import resident
from usage_pipeline.marts.findings import Finding
from usage_pipeline.organizations import Organizations
from usage_pipeline.settings import Settings
from usage_pipeline.totals import CHECK, total_findings
from usage_pipeline.windows import utc_now


def run_check(
    *, labels: list[str] | None, is_strict: bool, is_against_service: bool, as_json: bool, is_quiet: bool
) -> None:
    """Run every check, the one that asks the service where that is wanted, and print what they found.

    Raises:
        CheckFailed: there is an error, or in strict mode a warning.
    """
    organizations, now = Organizations.from_env(), utc_now()
    members = [resident(one) for one in organizations.choose(labels)]
    by_label, checks = run_checks_of(members, now), list(CHECKS)
    if is_against_service:
        checks.append(CHECK)
        for one in members:
            by_label[one.organization] += _against_service(one, now)
    found = [(label, one) for label, findings in by_label.items() for one in findings]
    failing = [one for _, one in found if one.is_error or is_strict]
    whose = ["organization"] if organizations.are_several else []
    if as_json:
        listed = [{**dict.fromkeys(whose, label), **asdict(one)} for label, one in found]
        print_json({"passed": not failing, "checks": checks, "findings": listed})
    elif is_quiet:
        pass
    elif found:
        rows = [
            (*(label for _ in whose), "error" if one.is_error else "warning", one.check, one.message)
            for label, one in found
        ]
        print_table(None, [*whose, "severity", "check", "finding"], rows)
    else:
        out().print(f"Nothing found by {len(checks)} checks: {', '.join(checks)}.")
    if failing:
        names = ", ".join(dict.fromkeys(one.check for one in failing))
        raise CheckFailed(f"{len(failing)} findings fail: {names}. What to do is said with each.")


def _against_service(settings: Settings, now: datetime) -> list[Finding]:
    """What the service says otherwise; of several organizations one that cannot be asked is a finding of its own.

    Raises:
        UsagePipelineError: the only organization there is could not be asked.
    """
    try:
        return total_findings(settings, now)
    except UsagePipelineError as error:
        if not settings.is_one_of_several:
            raise
        key = f"{CHECK}|{settings.organization}|not asked"
        return [Finding(check=CHECK, is_error=True, key=key, message=f"the service could not be asked: {error}")]
