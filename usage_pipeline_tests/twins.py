"""Cases that are twins: the quick suite plays the first of them, `-m slow` the others."""

from collections.abc import Sequence
from typing import Any

import pytest


def first_quick(*cases: Any, quick: int = 1, ids: Sequence[str] | None = None) -> list[Any]:
    """The cases of one argument, for `parametrize`; those after the first `quick` are marked slow."""
    names = ids or [None] * len(cases)
    return [
        pytest.param(case, id=name, marks=() if number < quick else pytest.mark.slow)
        for number, (case, name) in enumerate(zip(cases, names, strict=True))
    ]
