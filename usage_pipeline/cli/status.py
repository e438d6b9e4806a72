"""The `status` command."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from usage_pipeline.cli.console import print_json
from usage_pipeline.cli.tables import print_table
from usage_pipeline.organizations import Organizations
from usage_pipeline.status import EndpointStatus, endpoint_status
from usage_pipeline.windows import utc_now


def run_status(*, labels: list[str] | None, as_json: bool) -> None:
    """Print every endpoint's status: of all organizations in the folder, or of those asked for."""
    organizations = Organizations.from_env()
    chosen = {one.organization: one for one in organizations.choose(labels)}
    found = [
        one for one in endpoint_status(organizations.folder, utc_now()) if not labels or one.organization in chosen
    ]
    services = {one.organization: chosen.get(one.organization, organizations.folder).service for one in found}
    if as_json:
        print_json([{**_as_dict(one), "service": services[one.organization]} for one in found])
        return
    for organization in dict.fromkeys(one.organization for one in found):
        print_table(
            f"Organization {organization}; the service asked is {services[organization]}",
            ["endpoint", "first day", "watermark", "days", "rows", "last sync (UTC)", "settles after", "gaps"],
            [
                (
                    one.endpoint,
                    one.first_day,
                    one.watermark,
                    one.days,
                    one.rows,
                    one.last_sync,
                    _settling(one),
                    _gaps(one) or "none",
                )
                for one in found
                if one.organization == organization
            ],
        )


def _gaps(one: EndpointStatus) -> str:
    return ", ".join(str(gap) for gap in one.gaps)


def _settling(one: EndpointStatus) -> str:
    """How long after its end a bucket still changed, as far as syncs have seen."""
    return "no change seen" if one.settling is None else f"{one.settling.delay / timedelta(days=1):.1f} days"


def _as_dict(one: EndpointStatus) -> dict[str, Any]:
    learned = one.settling and {
        "changes": one.settling.changes,
        "delay_hours": round(one.settling.delay / timedelta(hours=1), 1),
    }
    return {**asdict(one), "gaps": [str(gap) for gap in one.gaps], "settling": learned}
