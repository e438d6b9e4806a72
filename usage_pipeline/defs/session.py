"""One run's session: the settings it began with, its concurrent reads, and the publishing it owes at its end.

Put what the steps of one process share here. In the in-process executor that is the whole run; where each step has
its own process (multiprocess, Kubernetes) a session serves one step: it reads that endpoint only and publishes it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import dagster as dg

from usage_pipeline.defs.alive import working
from usage_pipeline.defs.event_log import kept_open
from usage_pipeline.defs.failures import as_dagster, explain
from usage_pipeline.defs.partitions import members_of
from usage_pipeline.defs.reader import ConcurrentReader
from usage_pipeline.endpoint_sync import EndpointSync
from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.guard import keep_demo_apart
from usage_pipeline.marts.build import MartBuild
from usage_pipeline.organizations import Organizations
from usage_pipeline.redaction import told
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory, new_sync_id
from usage_pipeline.warehouse import Refresh, Workbench, refresh
from usage_pipeline.windows import Window

SESSION = "session"  # the resource key


@dataclass(frozen=True, kw_only=True, slots=True)
class StepNews:
    """What a step came to: its asset (`usage/costs`), outcome, rows, and the reason where it failed."""

    asset: str
    outcome: str
    rows: int = 0
    seconds: float = 0.0
    reason: str | None = None


OnEvent = Callable[[StepNews], None]
StepContext = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


@dataclass(slots=True)
class Report:
    """Filled in by a step's body: what to tell when it is done, and the facts to show where it failed."""

    outcome: str = "done"
    rows: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


class Session:
    """Shared by the steps of one process; settings and client are made when first asked for.

    So a run without a key fails in its steps, with one line each.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[Settings]],
        client_factory: ClientFactory,
        clock: Callable[[], datetime],
        on_event: OnEvent | None,
    ) -> None:
        self._read = read
        self._client_factory = client_factory
        self._clock = clock
        self._on_event = on_event
        self._members: Sequence[Settings] = ()
        self._readers: dict[str, ConcurrentReader] = {}
        self._workbench: Workbench | None = None
        self._has_news = False
        self._is_interrupted = False
        self.now = clock()
        self.sync_id = new_sync_id(self.now)

    @property
    def members(self) -> Sequence[Settings]:
        """The settings of the run's organizations (mostly one), read once: a run does not change its mind.

        Raises:
            FixConfig: they are wrong, or would put real rows beside the demo's.
        """
        if not self._members:
            members = self._read()
            keep_demo_apart(members[0])
            self._members = members
        return self._members

    @property
    def settings(self) -> Settings:
        """What concerns the data folder and no organization of it."""
        return self.members[0]

    def read(
        self, endpoint: Endpoint, window: Window, together: Sequence[Endpoint]
    ) -> list[tuple[Settings, EndpointSync]]:
        """An endpoint's window of each organization, read and stored; the first call begins those of `together`.

        Raises:
            UsagePipelineError: it failed for an organization, whose name is said where there are several; the others'
                is stored.
        """
        found, errors = [], []
        for one in self.members:
            try:
                done = self._reader_of(one).take(endpoint, window, together)
                if done.error is not None:
                    raise done.error
                self.note_news()
                found.append((one, done))
            except UsagePipelineError as error:
                errors.append(named(one, error))
        if errors:
            raise errors[0]
        return found

    def _reader_of(self, settings: Settings) -> ConcurrentReader:
        label = settings.organization
        if label not in self._readers:
            client = self._client_factory(settings)
            self._readers[label] = ConcurrentReader(settings, client, self.sync_id, self.now)
        return self._readers[label]

    def build(self, mart: str) -> MartBuild:
        """One mart and what it reads, up to date."""
        if self._workbench is None:
            self._workbench = Workbench(self.settings)
        built = self._workbench.build(mart)
        if built.days:
            self.note_news()
        return built

    def note_news(self) -> None:
        """Something is in the lake that the published file does not show yet."""
        self._has_news = True

    def publish(self) -> Refresh:
        """Bring the published file up to date."""
        refreshed = refresh(self.settings)
        self._has_news = False
        return refreshed

    @contextmanager
    def step(self, context: StepContext, asset: str) -> Iterator[Report]:
        """The body of every step: turns our errors into Dagster's, tells the listener, notices interrupts."""
        report, began = Report(), time.monotonic()
        error: UsagePipelineError | None = None
        bug: Exception | None = None
        try:
            yield report
        except UsagePipelineError as wrong:
            error = wrong
        except Exception as wrong:
            bug = wrong
        except BaseException:  # Dagster raises its interrupt wherever the main thread happens to be
            self._is_interrupted = True
            raise
        if bug is not None:
            self._tell(StepNews(asset=asset, outcome="failed", reason="unexpected error, see the run's log"))
            if (clean := self._without_secrets(bug)) is None:
                raise bug
            raise RuntimeError(clean) from None
        seconds = time.monotonic() - began
        if error is None:
            self._tell(StepNews(asset=asset, outcome=report.outcome, rows=report.rows, seconds=seconds))
            return
        raised = as_dagster(context, error, report.facts)
        outcome = "failed" if isinstance(raised, dg.Failure) else "retrying"
        self._tell(StepNews(asset=asset, outcome=outcome, seconds=seconds, reason=explain(error)))
        raise raised from None  # the error's own context could hold a request and its header

    def close(self, log: logging.Logger) -> None:
        """End the reads, and publish what no `warehouse` step published: a failed endpoint must not hide the others."""
        closed = [reader.close() for reader in self._readers.values()]
        if not all(closed):
            log.warning("a commit was still under way when the run ended; it completes or leaves nothing.")
        if not self._has_news or self._is_interrupted:
            return
        try:
            path = self.publish().path
        except Exception as wrong:  # the run's own outcome is what counts; this is told beside it
            log.error(f"what this run read was not published: {explain(wrong)} Materialize `warehouse` to publish it.")
        else:
            log.info(f"published {path}: the `warehouse` step did not run after the last change.")

    def _without_secrets(self, bug: Exception) -> str | None:
        """The traceback of a bug without the secret its chain holds; None where it holds none. Dagster keeps chains."""
        text = told(bug, self._members[0].secrets if self._members else [])
        return None if text == told(bug, []) else text

    def _tell(self, news: StepNews) -> None:
        if self._on_event is not None:
            self._on_event(news)


def named(settings: Settings, error: UsagePipelineError) -> UsagePipelineError:
    """The error, saying whose it is where there are several organizations."""
    whose = f"organization {settings.organization}: "
    if settings.is_one_of_several and not str(error).startswith(whose):
        error.args = (f"{whose}{error}",)
    return error


def session_resource(
    read: Callable[[], Organizations],
    client_factory: ClientFactory,
    clock: Callable[[], datetime],
    on_event: OnEvent | None,
) -> dg.ResourceDefinition:
    """The resource: no config, hence nothing of the settings (the key!) in any snapshot or run config."""

    @dg.resource(description="What the steps of a run share: settings, concurrent reads, publishing at the end.")
    def session(context: dg.InitResourceContext) -> Iterator[Session]:
        tags = context.run.tags if context.run is not None else {}
        made = Session(lambda: members_of(tags, read().members), client_factory, clock, on_event)
        run_id = context.run.run_id if context.run is not None else None
        with working(context.instance, run_id), kept_open(context.instance, run_id):
            try:
                yield made
            finally:
                made.close(context.log or logging.getLogger(__name__))

    return session


def session_of(context: StepContext) -> Session:
    """The step's session."""
    return cast(Session, getattr(context.resources, SESSION))
