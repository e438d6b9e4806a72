"""The `status` command."""

from dataclasses import asdict
from typing import Any

from usage_pipeline.cli.console import print_json, print_table
from usage_pipeline.settings import Settings
from usage_pipeline.status import EndpointStatus, endpoint_status


def run_status(*, as_json: bool) -> None:
    """Print every endpoint's status."""
    found = endpoint_status(Settings.from_env())
    if as_json:
        print_json([_as_dict(one) for one in found])
        return
    for organization in dict.fromkeys(one.organization for one in found):
        print_table(
            f"Organization {organization}",
            ["endpoint", "first day", "watermark", "days", "rows", "last sync (UTC)", "gaps"],
            [
                (one.endpoint, one.first_day, one.watermark, one.days, one.rows, one.last_sync, _gaps(one) or "none")
                for one in found
                if one.organization == organization
            ],
        )


def _gaps(one: EndpointStatus) -> str:
    return ", ".join(str(gap) for gap in one.gaps)


def _as_dict(one: EndpointStatus) -> dict[str, Any]:
    return {**asdict(one), "gaps": [str(gap) for gap in one.gaps]}
