"""The `simulate` command: the made-up organization's API on a local port."""

import sys
from datetime import UTC, datetime

from usage_pipeline.api.serve import serve
from usage_pipeline.api.server import ROOT, create_app
from usage_pipeline.errors import FixConfig
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.faults import FaultInjector
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.windows import utc_now


def run_simulate(*, port: int, seed: int, now: str | None, delay_seconds: float, fault_rate: float) -> None:
    """Serve until interrupted; virtual time starts at `now` and passes like real time."""
    organization = Organization(seed, VirtualClock(_moment(now), ticking=True))
    app = create_app(
        organization,
        delay_seconds=delay_seconds,
        faults=(lambda inner: FaultInjector(inner, rate=fault_rate, seed=seed)) if fault_rate else None,
    )

    def announce(bound: int) -> None:
        sys.stderr.write(
            f"serving organization {seed} at {organization.now():%Y-%m-%dT%H:%M:%SZ}; Ctrl-C ends it.\n"
            "In another shell:\n"
            f"  export OPENAI_BASE_URL=http://127.0.0.1:{bound}{ROOT} OPENAI_ADMIN_KEY=sk-admin-simulated\n"
            "  usage-pipeline sync\n"
        )

    try:
        serve(app, port, on_bound=announce)
    except OSError as taken:
        raise FixConfig(
            f"port {port} of 127.0.0.1 cannot be used ({taken.strerror}): choose another with --port."
        ) from None


def _moment(text: str | None) -> datetime:
    if text is None:
        return utc_now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FixConfig(f"--now {text!r} is not a time: write it like 2026-11-03T12:00:00Z.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
