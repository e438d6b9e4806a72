"""Our errors as Dagster's: what is worth another try is tried again, the rest fails with one line.

Put the mapping here; who catches is session.py.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from usage_pipeline.errors import RetryLater, UsagePipelineError

MAX_RETRIES = 2
_DEFAULT_WAIT_SECONDS = 30.0  # the client itself has retried for minutes before it gives up
_LONGEST_WAIT_SECONDS = 300.0


def as_dagster(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    error: UsagePipelineError,
    facts: Mapping[str, Any],
) -> dg.Failure | dg.RetryRequested:
    """The exception to raise in the step; after the last try a busy service is a failure too."""
    if isinstance(error, RetryLater) and context.retry_number < MAX_RETRIES:
        wait = _DEFAULT_WAIT_SECONDS if error.seconds is None else min(error.seconds, _LONGEST_WAIT_SECONDS)
        context.log.warning(f"{explain(error)} Next try in {wait:g} s.")
        return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait)
    metadata = {"error": type(error).__name__, **facts}
    return dg.Failure(description=explain(error), metadata=metadata, allow_retries=False)


def explain(error: BaseException) -> str:
    """One line for people."""
    line = " ".join(str(error).split())
    return line if isinstance(error, UsagePipelineError) else f"unexpected {type(error).__name__}: {line}"
