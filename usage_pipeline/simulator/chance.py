"""Chance that repeats: the only source of randomness in the simulator.

Put generators made from a seed here; no module may use the shared one, whose state depends on who drew before.
"""

import random


def chance(*names: object) -> random.Random:
    """A generator of its own for whatever the names say, the same in every process."""
    return random.Random(":".join(map(str, names)))  # noqa: S311 (play, not secrets)
