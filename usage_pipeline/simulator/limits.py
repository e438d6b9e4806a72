"""Spend limits of the simulated organization: what its owner lets be spent a month, changed now and then.

Put the limits of a moment here, as the API shows them. They stop nothing: usage and bills are the same without them.
"""

from typing import Any

from usage_pipeline.simulator.chance import chance
from usage_pipeline.simulator.roster import FOUNDED
from usage_pipeline.windows import DAY_SECONDS, day_start

_FOUNDED = int(day_start(FOUNDED).timestamp())
_LIMITED_SHARE, _LIFTED_SHARE = 0.7, 0.25  # of projects, and of their changes
_ORGANIZATION_CENTS, _PROJECT_CENTS = 250_000, 90_000  # far above what is spent
_STEP_CENTS = 5_000


def spend_limit(seed: int, project_id: str | None, now: int) -> dict[str, Any] | None:
    """The limit of a project, or of the organization, at a moment (unix seconds); None where none is set."""
    rng = chance(seed, "spend limit", project_id)
    if project_id is not None and rng.random() >= _LIMITED_SHARE:
        return None
    cents, at = (_ORGANIZATION_CENTS if project_id is None else _PROJECT_CENTS), _FOUNDED
    found: int | None = None
    while at <= now:
        is_lifted = project_id is not None and rng.random() < _LIFTED_SHARE
        cents += rng.randrange(12) * _STEP_CENTS
        found = None if is_lifted else cents + rng.randrange(100)
        at += rng.randrange(60, 240) * DAY_SECONDS
    if found is None:
        return None
    return {
        "threshold_amount": found,
        "currency": "USD",
        "interval": "month",
        "enforcement": {"status": "inactive"},
    }
