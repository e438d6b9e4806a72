"""Celery's executor, for which a worker that was lost is a step to be tried again, and a broker away one to wait for.

Put what differs from dagster-celery's here. Its loop submits nothing more once a worker was lost, and waits for the
steps it did not submit: the run would spin until the longest time a run may take (seen with dagster-celery 0.29.27).
"""

import sys
from typing import Any

import dagster as dg
from celery.exceptions import TaskRevokedError
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import StepFailureData, StepRetryData
from dagster._core.execution.retries import RetryMode
from dagster._serdes import serialize_value
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import CeleryExecutor, _submit_task, celery_executor

_OUTLASTS = {  # a Redis away for minutes, as for an upgrade: by default the run fails at its next question
    "result_backend_always_retry": True,
    "result_backend_max_retries": 60,  # of up to ten seconds each
    "task_publish_retry_policy": {"max_retries": 60, "interval_start": 0, "interval_step": 0.5, "interval_max": 5},
}
_MOST_LOST = 2  # workers that one step may cost: what kills each that tries it will kill the next, too


class _Attempt:
    """A step at a worker, as dagster-celery's loop asks for it."""

    def __init__(self, result: Any, context: Any, lost_before: int) -> None:
        self._result = result
        self._context = context
        self._lost_before = lost_before

    def ready(self) -> bool:
        """Whether it has ended, or its worker has."""
        return bool(self._result.ready())

    def revoke(self) -> None:
        """Take it back."""
        self._result.revoke()

    def get(self) -> list[str]:
        """The events of the step; of a lost worker, that it is to be tried again, or has failed."""
        try:
            return list(self._result.get())
        except TaskRevokedError:
            raise
        except Exception:  # whatever kept the events from coming: what the step itself raises is one of them
            error = serializable_error_info_from_exc_info(sys.exc_info())
        if self._lost_before < _MOST_LOST:
            again = StepRetryData(error=error)  # type: ignore[no-untyped-call]
            event = DagsterEvent.step_retry_event(self._context, again)
        else:
            failed = StepFailureData(error=error, user_failure_data=None)  # type: ignore[no-untyped-call]
            event = DagsterEvent.step_failure_event(self._context, failed)
        return [serialize_value(event)]


def _submit(app: Any, context: Any, step: Any, queue: str, priority: int, known: Any) -> _Attempt:
    result = _submit_task(app, context, step, queue, priority, known)  # type: ignore[no-untyped-call]
    return _Attempt(result, context.for_step(step), known.get_retry_state().get_attempt_count(step.key))


class _Executor(CeleryExecutor):
    def execute(self, plan_context: Any, execution_plan: Any) -> Any:
        """Run the steps."""
        return core_celery_execution_loop(  # type: ignore[no-untyped-call]
            plan_context, execution_plan, step_execution_fn=_submit
        )


def _make(context: dg.InitExecutorContext) -> dg.Executor:
    given: Any = context.executor_config
    named = {name: given.get(name) for name in ("broker", "backend", "config_source", "include")}
    retries = RetryMode.from_config(given["retries"])
    named["config_source"] = {**_OUTLASTS, **(named["config_source"] or {})}
    return _Executor(retries, **named)  # type: ignore[no-untyped-call]


CELERY = dg.ExecutorDefinition(
    name="celery",
    config_schema=celery_executor.config_schema.as_field(),
    requirements=dg.multiple_process_executor_requirements(),
    executor_creation_fn=_make,
)
