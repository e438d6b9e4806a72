"""The `check` command."""

from dataclasses import asdict

from usage_pipeline.check import CHECKS, run_checks
from usage_pipeline.cli.console import out, print_json
from usage_pipeline.cli.tables import print_table
from usage_pipeline.errors import CheckFailed
from usage_pipeline.guard import resident
from usage_pipeline.settings import Settings
from usage_pipeline.totals import CHECK, total_findings
from usage_pipeline.windows import utc_now


def run_check(*, is_strict: bool, is_against_service: bool, as_json: bool, is_quiet: bool) -> None:
    """Run every check, the one that asks the service where that is wanted, and print what they found.

    Raises:
        CheckFailed: there is an error, or in strict mode a warning.
    """
    settings, now = resident(Settings.from_env()), utc_now()
    found, checks = run_checks(settings, now), list(CHECKS)
    if is_against_service:
        found, checks = [*found, *total_findings(settings, now)], [*checks, CHECK]
    failing = [one for one in found if one.is_error or is_strict]
    if as_json:
        print_json({"passed": not failing, "checks": checks, "findings": [asdict(one) for one in found]})
    elif is_quiet:
        pass
    elif found:
        rows = [("error" if one.is_error else "warning", one.check, one.message) for one in found]
        print_table(None, ["severity", "check", "finding"], rows)
    else:
        out().print(f"Nothing found by {len(checks)} checks: {', '.join(checks)}.")
    if failing:
        names = ", ".join(dict.fromkeys(one.check for one in failing))
        raise CheckFailed(f"{len(failing)} findings fail: {names}. What to do is said with each.")
