"""What the organization does day after day: each workload is one program calling one endpoint in one way.

Put the choice of dimension values here, made from the endpoint's row; single events are made in `events`.
"""

import random
from dataclasses import dataclass
from datetime import date

from usage_pipeline.endpoints import Dimension, Endpoint
from usage_pipeline.simulator.catalogue import (
    DIMENSION_VALUES,
    GENERIC_MODELS,
    MODELS,
    USUAL_WORKLOADS,
    WORKLOADS,
    Model,
)
from usage_pipeline.simulator.chance import chance
from usage_pipeline.simulator.roster import FOUNDED, KEY_SLOTS, ApiKey

Value = str | bool | None
_IDENTITIES = {"project_id", "user_id", "api_key_id"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A key slot with fixed values for the other dimensions; `since` is when its model came out."""

    number: int
    slot: int
    since: date
    fixed: dict[str, Value]

    def values(self, endpoint: Endpoint, key: ApiKey) -> tuple[Value, ...]:
        """The value of every dimension of the endpoint, in its order."""
        identity: dict[str, Value] = {"project_id": key.project_id, "user_id": key.user_id, "api_key_id": key.id}
        return tuple((identity | self.fixed)[d.name] for d in endpoint.dimensions)


def workloads_of(seed: int, endpoint: Endpoint) -> list[Workload]:
    """All workloads on an endpoint; the seed and the row's dimensions decide them."""
    rng = chance(seed, "workloads", endpoint.name)
    models = MODELS.get(endpoint.name, GENERIC_MODELS)
    found = []
    for number in range(WORKLOADS.get(endpoint.name, USUAL_WORKLOADS)):
        model = models[number % len(models)]
        fixed = {d.name: _value(rng, d, model) for d in endpoint.dimensions if d.name not in _IDENTITIES}
        since = model.since if "model" in fixed else FOUNDED
        found.append(Workload(number=number, slot=rng.randrange(KEY_SLOTS), since=since, fixed=fixed))
    return found


def _value(rng: random.Random, dimension: Dimension, model: Model) -> Value:
    """A value for one dimension; a dimension nobody has thought of yet gets three made-up ones."""
    if dimension.name == "model":
        return model.name
    weights = DIMENSION_VALUES.get(dimension.name)
    if weights is not None:
        return rng.choices(list(weights), list(weights.values()))[0]
    if dimension.kind == "flag":
        return rng.random() < 0.5
    return rng.choice(dimension.known_values or tuple(f"{dimension.name}-{letter}" for letter in "abc"))
