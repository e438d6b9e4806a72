"""How long work says how far it is, whoever listens.

Put the form of such news here; how it is shown is the commands'.
"""

from collections.abc import Callable

# What is being done, how much of it is done, and of how much in all (0: not known).
Tell = Callable[[str, int, int], None]


def tell_nobody(_stage: str, _done: int, _total: int) -> None:
    """For work nobody watches."""
