"""What runs a run's steps, by the setting: this process, processes beside it, Celery's workers or Kubernetes' jobs.

Put how each is set up here; what a step may count on is session.py's. The libraries for Celery and Kubernetes are an
extra, so they are imported when they are chosen.
"""

from collections.abc import Callable
from typing import cast

import dagster as dg

from usage_pipeline.errors import FixConfig
from usage_pipeline.setting_checks import Executor

# The time a process takes to import all this is spent once: the others are forked from the one that did.
_FORKED = {"start_method": {"forkserver": {"preload_modules": ["usage_pipeline.definitions"]}}}


def executor_of(name: Executor) -> dg.ExecutorDefinition:
    """The executor of that name; what it needs has been checked (`Settings.require_executor`)."""
    return _EXECUTORS[name]()


def _in_process() -> dg.ExecutorDefinition:
    return dg.in_process_executor


def _multiprocess() -> dg.ExecutorDefinition:
    return dg.multiprocess_executor.configured(_FORKED, name="multiprocess")


def _celery() -> dg.ExecutorDefinition:
    """Whom to talk to stays in Celery's own variables: it may hold a password, and Dagster stores configuration."""
    from usage_pipeline.defs.celery import CELERY

    return CELERY


def _k8s() -> dg.ExecutorDefinition:
    from dagster_k8s import K8sRunLauncher, k8s_job_executor

    def make(context: dg.InitExecutorContext) -> dg.Executor:
        if not isinstance(context.instance.run_launcher, K8sRunLauncher):
            raise FixConfig(
                "USAGE_PIPELINE_EXECUTOR=k8s: image, volumes and secrets of its jobs are those of the K8sRunLauncher; "
                "name it under run_launcher in dagster.yaml."
            )
        return cast(Callable[[dg.InitExecutorContext], dg.Executor], k8s_job_executor.executor_creation_fn)(context)

    return dg.ExecutorDefinition(
        name="k8s",
        config_schema=k8s_job_executor.config_schema.as_field(),
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=make,
    )


_EXECUTORS: dict[Executor, Callable[[], dg.ExecutorDefinition]] = {
    "in_process": _in_process,
    "multiprocess": _multiprocess,
    "celery": _celery,
    "k8s": _k8s,
}
