"""Reading again from the service what no file has any more, where the service still has it.

Put here what a repair may ask the service for; what a file can still give is doctor.py's.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.guard import keep_demo_apart
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import lost_note, lost_reads
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


def missing_of_lost(settings: Settings, members: Sequence[Settings], names: Collection[str]) -> list[Missing]:
    """What to read again of raw files that are known to be lost: the days of the `members` no other raw file gives."""
    if not names:
        return []
    reads = lost_reads(settings.data_dir, CoverageLog(Lake.of(settings)).rows(), names)
    labels = {one.organization for one in members}
    return [
        Missing(organization=lost.read.organization, endpoint=lost.read.endpoint, window=run, told=lost_note(name))
        for name, lost in reads.items()
        if lost.read.organization in labels
        for run in day_runs(lost.days)
    ]


def refetch(
    members: Sequence[Settings],
    missing: Iterable[Missing],
    client_factory: ClientFactory,
    clock: Callable[[], datetime] = utc_now,
) -> tuple[list[str], list[str]]:
    """Read the windows again into raw and the lake, each day once; returns what came back, and what is lost.

    Each organization's are read with its own settings; those of an organization that is none of `members` are lost.

    What comes is what the service says today: a day it has restated since is a restatement like any other.
    """
    wanted, by_label = list(missing), {one.organization: one for one in members}
    days: dict[tuple[str, str], set[date]] = defaultdict(set)
    for one in wanted:
        days[one.organization, one.endpoint].update(one.window.dates())
    landed: set[tuple[str, str, date]] = set()
    refused: dict[tuple[str, str, date], UsagePipelineError] = {}
    for (organization, endpoint), gone in days.items():
        for run in day_runs(sorted(gone)):
            try:
                came_days = _read_again(by_label.get(organization), endpoint, run, client_factory, clock)
            except UsagePipelineError as refusal:
                refused.update(((organization, endpoint, day), refusal) for day in run.dates())
            else:
                landed.update((organization, endpoint, day) for day in came_days)
    came, lost = [], []
    for one in wanted:
        own = [(one.organization, one.endpoint, day) for day in one.window.dates()]
        without = day_runs([day for *place, day in own if (*place, day) not in landed])
        if not without:
            came.append(f"{one.endpoint} {one.window}: read again from the service")
        elif refusals := [refused[day] for day in own if day in refused]:
            lost.append(f"{one.told}; reading it again failed: {refusals[0]}")
        else:
            lost.append(f"{one.told}; the service no longer has {', '.join(map(str, without))}")
    return came, lost


def _read_again(
    settings: Settings | None,
    endpoint: str,
    window: Window,
    client_factory: ClientFactory,
    clock: Callable[[], datetime],
) -> set[date]:
    """The days of the window that came.

    Raises:
        UsagePipelineError: nothing came, and why.
    """
    if settings is None:
        return set()  # the keys are other organizations'
    keep_demo_apart(settings)
    report = sync(
        settings, [ENDPOINTS[endpoint]], window, clock=clock, client_factory=client_factory, is_landed_always=True
    )
    (done,) = report.endpoints
    if done.error is not None:
        raise done.error
    if report.refresh_error is not None:
        raise report.refresh_error
    return {day["date"] for row in done.rows for day in row["days"]}
