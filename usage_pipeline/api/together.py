"""Several reads at once, as one: all of them, or the failure that matters most.

Put the running of concurrent reads here; what is read is the callers'.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from usage_pipeline.errors import FixConfig

T = TypeVar("T")


async def together(reads: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order; the first failure cancels the rest and is raised itself, not in a group.

    A refused setting or key outranks what happened beside it: it is what the reader must mend.
    """
    failures: BaseExceptionGroup[BaseException]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read) for read in reads]
        return [task.result() for task in tasks]
    except BaseExceptionGroup as group_of_failures:
        failures = group_of_failures
    raise next((e for e in failures.exceptions if isinstance(e, FixConfig)), failures.exceptions[0])
