"""The `check` command."""

from dataclasses import asdict

from usage_pipeline.check import CHECKS, run_checks
from usage_pipeline.cli.console import out, print_json, print_table
from usage_pipeline.errors import CheckFailed
from usage_pipeline.guard import resident
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now


def run_check(*, is_strict: bool, as_json: bool) -> None:
    """Run every check and print what they found.

    Raises:
        CheckFailed: there is an error, or in strict mode a warning.
    """
    found = run_checks(resident(Settings.from_env()), utc_now())
    failing = [one for one in found if one.is_error or is_strict]
    if as_json:
        print_json({"passed": not failing, "checks": list(CHECKS), "findings": [asdict(one) for one in found]})
    elif found:
        rows = [("error" if one.is_error else "warning", one.check, one.message) for one in found]
        print_table(None, ["severity", "check", "finding"], rows)
    else:
        out().print(f"Nothing found by {len(CHECKS)} checks: {', '.join(CHECKS)}.")
    if failing:
        names = ", ".join(dict.fromkeys(one.check for one in failing))
        raise CheckFailed(f"{len(failing)} findings fail: {names}. What to do is said with each.")
