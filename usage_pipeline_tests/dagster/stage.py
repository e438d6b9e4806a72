"""A stage for Dagster tests: a served organization in the present, a gate before it, and a real instance.

Put what several of these tests need here; no test and no assertion.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from usage_pipeline.api.client import UsageClient
from usage_pipeline.api.transport import RetryPolicy
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.world import World, open_world

KEY = "sk-admin-canary-5f0c1a7e93"
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FAIL = dg.DagsterEventType.STEP_FAILURE


@dataclass
class Gate:
    """Stands before the service: counts what comes, and refuses or delays endpoints by name."""

    status: dict[str, int] = field(default_factory=dict)
    fails_left: dict[str, int] = field(default_factory=dict)
    wait_for: int = 0  # hold answers until this many requests have come at once
    delay_seconds: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    most_under_way: int = 0

    def wrap(self, app: Any) -> Any:
        """The app with this gate before it."""

        async def gated(scope: Any, receive: Any, send: Any) -> None:
            name = next((row.name for row in ENDPOINTS.values() if scope.get("path", "").endswith(row.path)), None)
            if name is None:
                await app(scope, receive, send)
                return
            self.seen[name] += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                await self._hold()
                await self._answer(name, app, scope, receive, send)
            finally:
                self.under_way -= 1

        return gated

    async def _hold(self) -> None:
        """Answers wait for the others: a crowd forms exactly where requests do come together."""
        await asyncio.sleep(self.delay_seconds)
        for _ in range(500):
            if self.most_under_way >= self.wait_for:
                return
            await asyncio.sleep(0.01)

    async def _answer(self, name: str, app: Any, scope: Any, receive: Any, send: Any) -> None:
        if name not in self.status or self.fails_left.get(name, 1) <= 0:
            await app(scope, receive, send)
            return
        if name in self.fails_left:
            self.fails_left[name] -= 1
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"0")]
        await send({"type": "http.response.start", "status": self.status[name], "headers": headers})
        await send({"type": "http.response.body", "body": b'{"error": {"message": "refused by the test"}}'})


@dataclass
class Stage:
    """The world in the present, the gate before it, settings that point at it and an instance to run on."""

    world: World
    gate: Gate
    settings: Settings
    instance: dg.DagsterInstance

    def defs(self, **more: Any) -> dg.Definitions:
        """The definitions over this world."""
        return build_defs(lambda: self.settings, **{"client_factory": impatient(self.world), **more})

    def run(self, window: Window, only: Sequence[str] | None = None, **more: Any) -> dg.ExecuteInProcessResult:
        """Run `sync_usage`, or only these assets of it (`usage/costs`), over the window."""
        selection = None if only is None else [dg.AssetKey(name.split("/")) for name in only]
        return (
            self.defs(**more)
            .resolve_job_def("sync_usage")
            .execute_in_process(
                instance=self.instance,
                tags=range_tags(window),
                asset_selection=selection,
                run_config=SILENT,
                raise_on_error=False,
            )
        )


@contextmanager
def staged(data_dir: Path, **more: str) -> Iterator[Stage]:
    """Open a stage in a data folder."""
    gate, now = Gate(), utc_now()
    with open_world(now=now, faults=gate.wrap) as world:
        start = (now.date() - timedelta(days=60)).isoformat()
        values = {"OPENAI_ADMIN_KEY": KEY, "USAGE_PIPELINE_START_DATE": start, **more}
        settings = world.settings(data_dir, **values)
        with dg.DagsterInstance.from_config(str(prepare_home(data_dir))) as instance:
            yield Stage(world, gate, settings, instance)


def impatient(world: World) -> ClientFactory:
    """Makes clients that give up at once, so that a refusing gate costs no time."""

    def make(settings: Settings) -> UsageClient:
        policy = RetryPolicy(attempts=1)
        key = settings.require_key()
        return UsageClient(base_url=settings.base_url, key=key, policy=policy, clock=world.clock, concurrency=64)

    return make


def recent(days: int) -> Window:
    """The window of the last days, today included."""
    tomorrow = utc_now().date() + timedelta(days=1)
    return Window.of_days(tomorrow - timedelta(days=days), tomorrow)


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Failed steps and what they say."""
    found = {}
    for event in result.filter_events(lambda event: event.event_type == FAIL):
        told = event.step_failure_data.user_failure_data
        found[str(event.step_key)] = str(told.description) if told else str(event.step_failure_data.error)
    return found


def verdicts(result: dg.ExecuteInProcessResult, name: str) -> dict[str, dg.AssetCheckEvaluation]:
    """The evaluations of one check, by asset."""
    return {
        one.asset_key.to_user_string(): one for one in result.get_asset_check_evaluations() if one.check_name == name
    }


def values(metadata: Any) -> dict[str, Any]:
    """Metadata as plain values."""
    return {name: value.value for name, value in metadata.items()}
