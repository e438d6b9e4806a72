"""Reading again from the service what no file has any more, where the service still has it.

Put here what a repair may ask the service for; what a file can still give is doctor.py's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.guard import keep_demo_apart
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory, sync
from usage_pipeline.windows import Window, day_runs, utc_now


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A window of an endpoint that raw cannot give any more, and what to say where the service cannot either."""

    organization: str
    endpoint: str
    window: Window
    told: str


def refetch(
    settings: Settings,
    missing: Iterable[Missing],
    client_factory: ClientFactory,
    clock: Callable[[], datetime] = utc_now,
) -> tuple[list[str], list[str]]:
    """Read the windows again into raw and the lake; returns what came back, and what is lost.

    What comes is what the service says today: a day it has restated since is a restatement like any other.
    """
    came, lost = [], []
    for one in missing:
        try:
            without = _read_again(settings, one, client_factory, clock)
        except UsagePipelineError as refused:
            lost.append(f"{one.told}; reading it again failed: {refused}")
            continue
        if without:
            spans = ", ".join(map(str, without))
            lost.append(f"{one.told}; the service no longer has {spans}")
        else:
            came.append(f"{one.endpoint} {one.window}: read again from the service")
    return came, lost


def _read_again(
    settings: Settings, one: Missing, client_factory: ClientFactory, clock: Callable[[], datetime]
) -> list[Window]:
    """The days of the window that did not come.

    Raises:
        UsagePipelineError: nothing came, and why.
    """
    if one.organization != settings.organization:
        return [one.window]  # the key is another organization's
    keep_demo_apart(settings)
    report = sync(
        settings,
        [ENDPOINTS[one.endpoint]],
        one.window,
        clock=clock,
        client_factory=client_factory,
        is_landed_always=True,
    )
    (done,) = report.endpoints
    if done.error is not None:
        raise done.error
    if report.refresh_error is not None:
        raise report.refresh_error
    landed = {day["date"] for row in done.rows for day in row["days"]}
    return day_runs(sorted(set(one.window.dates()) - landed))
