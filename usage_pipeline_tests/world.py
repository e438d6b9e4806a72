"""A served organization and the shortest way to sync from it: what most tests begin with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from usage_pipeline.api.client import UsageClient
from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.lake.query import ask
from usage_pipeline.name_lists import NameList
from usage_pipeline.settings import Settings
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.sync import SyncReport, choose_endpoints, sync
from usage_pipeline.windows import Window

NOW = datetime(2026, 11, 20, 15, 20, tzinfo=UTC)
TODAY = NOW.date()


@dataclass(frozen=True)
class World:
    """An organization behind a real server, its clock, and where it is served."""

    clock: VirtualClock
    organization: Organization
    base_url: str

    def settings(self, data_dir: Path, **more: Any) -> Settings:
        """Settings for this world; `more` by environment name."""
        values = {
            "OPENAI_ADMIN_KEY": "sk-admin-test",
            "OPENAI_BASE_URL": self.base_url,
            "USAGE_PIPELINE_DATA_DIR": str(data_dir),
            "USAGE_PIPELINE_START_DATE": "2026-11-01",
        }
        return Settings(_env_file=None, **{**values, **more})

    def client(self, settings: Settings) -> UsageClient:
        """A client that lives in the world's time."""
        return UsageClient(base_url=settings.base_url, key=settings.require_key(), clock=self.clock)

    def sync(
        self,
        settings: Settings,
        window: Window | None = None,
        names: Sequence[str] | None = None,
        lists: Sequence[NameList] = (),
    ) -> SyncReport:
        """Sync in the world's time; lists of names only where they are asked for."""
        endpoints = choose_endpoints(names)
        return sync(settings, endpoints, window, lists=lists, clock=self.clock, client_factory=self.client)


@contextmanager
def open_world(seed: int = 7, now: datetime = NOW, **app_options: Any) -> Iterator[World]:
    """Serve an organization on loopback while the block runs."""
    clock = VirtualClock(now)
    organization = Organization(seed, clock)
    with LoopbackServer(create_app(organization, **app_options)) as server:
        yield World(clock, organization, server.base_url)


def last_days(count: int, today: date = TODAY) -> Window:
    """The window of the last days, today included."""
    return Window.of_days(today - timedelta(days=count - 1), today + timedelta(days=1))


def rows(settings: Settings, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """The answer of the published file."""
    with ask(settings.warehouse_path, settings.lake_dir, sql, parameters) as answer:
        return list(answer.rows)


def everything(settings: Settings, schemas: Sequence[str] = ("usage", "marts")) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every published table of the schemas, in a fixed order; read as any client of DuckDB reads."""
    listed = "select table_schema, table_name from information_schema.tables order by all"
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        con.execute("set timezone = 'UTC'")
        return {
            f"{schema}.{name}": con.execute(f'select * from "{schema}"."{name}" order by all').fetchall()
            for schema, name in con.execute(listed).fetchall()
            if schema in schemas
        }


def versions(settings: Settings) -> dict[str, int]:
    """Delta version of every table under the lake, by its path there."""
    from deltalake import DeltaTable

    found = sorted(settings.lake_dir.glob("*/*/_delta_log"))
    return {str(log.parent.relative_to(settings.lake_dir)): DeltaTable(log.parent).version() for log in found}
