"""Three organizations behind one address, as `usage_pipeline.toml` and the environment name them.

Put serving and configuring several organizations here; no test and no assertion.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from usage_pipeline.api.by_key import ByKey
from usage_pipeline.api.client import UsageClient
from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.api.transport import RetryPolicy
from usage_pipeline.organizations import Organizations
from usage_pipeline.settings import Settings
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.faults import FaultInjector
from usage_pipeline.simulator.organization import Organization

KEYS = {
    "ACME_KEY": "sk-admin-acme-5f0c1a7e93",
    "TWIN_KEY": "sk-admin-twin-0b8d2c4e61",
    "DOWN_KEY": "sk-admin-down-77e1f09ab2",
}
_SEED = 7  # of all: the twins have the same projects, keys and users, by id and by name


@dataclass(frozen=True)
class Many:
    """Where they are served, and their clock."""

    clock: VirtualClock
    base_url: str

    def configure(self, folder: Path, labels: Mapping[str, str], **more: str) -> dict[str, str]:
        """Write the file for these labels (and the variables of their keys); returns the environment to set."""
        tables = [f'[organizations.{label}]\nkey_variable = "{name}"\n' for label, name in labels.items()]
        (folder / "usage_pipeline.toml").write_text("\n".join(tables), encoding="utf-8")
        return {
            **KEYS,
            "OPENAI_BASE_URL": self.base_url,
            "USAGE_PIPELINE_DATA_DIR": str(folder / "data"),
            "USAGE_PIPELINE_START_DATE": "2026-11-18",
            **more,
        }

    def client(self, settings: Settings) -> UsageClient:
        """A client that lives in their time, and gives up at once."""
        key, policy = settings.require_key(), RetryPolicy(attempts=1)
        return UsageClient(base_url=settings.base_url, key=key, clock=self.clock, policy=policy)

    def members(self, folder: Path) -> list[Settings]:
        """The settings of all whom the folder's file names; the environment is set."""
        return list(Organizations.from_env(file=folder / "usage_pipeline.toml").members)


@contextmanager
def serving_many(now: datetime) -> Iterator[Many]:
    """Serve acme, its twin, and one that is down."""
    clock = VirtualClock(now)
    twins = {KEYS[name]: create_app(Organization(_SEED, clock)) for name in ("ACME_KEY", "TWIN_KEY")}
    down = FaultInjector(create_app(Organization(_SEED, clock)), rate=1.0, seed=_SEED)
    with LoopbackServer(ByKey({**twins, KEYS["DOWN_KEY"]: down})) as server:
        yield Many(clock, server.base_url)
