"""The `simulate` command: the made-up organization's API on a local port."""

import sys
from datetime import UTC, datetime
from functools import partial

from usage_pipeline.api.by_key import ByKey
from usage_pipeline.api.serve import serve
from usage_pipeline.api.server import ROOT, create_app
from usage_pipeline.errors import FixConfig
from usage_pipeline.simulator.clock import VirtualClock
from usage_pipeline.simulator.faults import FaultInjector
from usage_pipeline.simulator.organization import Organization
from usage_pipeline.windows import utc_now

_KEY = "sk-admin-simulated"


def run_simulate(
    *, port: int, seed: int, organizations: int, now: str | None, delay_seconds: float, fault_rate: float
) -> None:
    """Serve until interrupted; virtual time starts at `now` and passes like real time.

    Of several organizations, of this seed and those that follow it, the key tells which is asked for.
    """
    clock = VirtualClock(_moment(now), ticking=True)

    keys = {_KEY: seed} if organizations == 1 else {f"{_KEY}-{n}": seed + n - 1 for n in range(1, organizations + 1)}
    apps = {
        key: create_app(
            Organization(own, clock),
            delay_seconds=delay_seconds,
            faults=partial(FaultInjector, rate=fault_rate, seed=own) if fault_rate else None,
        )
        for key, own in keys.items()
    }

    def announce(bound: int) -> None:
        sys.stderr.write(
            f"serving organization {', '.join(map(str, keys.values()))} at {clock():%Y-%m-%dT%H:%M:%SZ}; Ctrl-C ends "
            "it.\nIn another shell:\n"
            f"  export OPENAI_BASE_URL=http://127.0.0.1:{bound}{ROOT} OPENAI_ADMIN_KEY={next(iter(keys))}\n"
            "  usage-pipeline sync\n"
        )
        if organizations > 1:
            sys.stderr.write(f"The others' keys: {', '.join(list(keys)[1:])}\n")

    try:
        serve(apps[_KEY] if organizations == 1 else ByKey(apps), port, on_bound=announce)
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
