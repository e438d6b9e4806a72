"""Running the real job from Python, on the instance the UI shows: what `demo` does.

Put running and summing up here; what the job is lives in automation.py.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from usage_pipeline.defs.automation import SYNC_JOB
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.event_log import kept_open
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.defs.session import OnEvent
from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory, make_client
from usage_pipeline.windows import Window, utc_now

# Everything stays in the instance's event log; the terminal belongs to the caller.
_SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# Dagster turns Ctrl-C and SIGTERM into a failed run with this reason.
_FAILURE_REASON = "dagster/failure_reason"
_INTERRUPTED = "UNEXPECTED_TERMINATION"


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedCheck:
    """A check that does not hold; a warning does not make the run fail, nor does an error."""

    asset: str
    name: str
    is_warning: bool
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """How a run ended: the failed steps' assets with one line each, and the checks that do not hold."""

    run_id: str
    is_success: bool
    failures: Mapping[str, str]
    checks: tuple[FailedCheck, ...]


def run_sync_job(
    settings: Settings,
    window: Window,
    *,
    on_event: OnEvent | None = None,
    client_factory: ClientFactory = make_client,
) -> JobResult:
    """Run `sync_usage` over a window in this process, silently, on the instance in `<data_dir>/dagster`.

    Args:
        settings: What to read and where to keep it.
        window: Days, from the settings' first day on and not past today.
        on_event: Told as each step ends: `StepNews(asset="usage/costs", outcome="replaced", rows=219, ...)`.
        client_factory: Makes the client of the service.

    Raises:
        FixConfig: the window is not within the partitions.
        KeyboardInterrupt: the run was interrupted; what was committed stays.
    """
    today = utc_now().date()
    days = window.dates()
    if days[0] < settings.first_day(today) or days[-1] > today:
        raise FixConfig(
            f"{window} is not within {settings.first_day(today)}..{today}: choose other days, "
            "or an earlier USAGE_PIPELINE_START_DATE."
        )
    with warnings.catch_warnings(), dg.DagsterInstance.from_config(str(prepare_home(settings.data_dir))) as instance:
        warnings.simplefilter("ignore")  # Dagster's notices of beta features
        with kept_open(instance):
            defs = build_defs(lambda: settings, client_factory=client_factory, on_event=on_event)
            job = defs.resolve_job_def(SYNC_JOB)
            result = job.execute_in_process(
                instance=instance, tags=range_tags(window), run_config=_SILENT, raise_on_error=False
            )
        run = instance.get_run_by_id(result.run_id)
    if run is not None and run.tags.get(_FAILURE_REASON) == _INTERRUPTED:
        raise KeyboardInterrupt
    return JobResult(
        run_id=result.run_id, is_success=result.success, failures=_failures(result), checks=_failed_checks(result)
    )


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Failed steps, by the name people know them by."""
    found = {}
    for event in result.all_node_events:
        if event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            found[_name(event)] = told or (data.error.message.strip() if data.error else "failed")
    return found


def _name(event: Any) -> str:
    return str(event.step_key).replace("__", "/", 1)


def _failed_checks(result: dg.ExecuteInProcessResult) -> tuple[FailedCheck, ...]:
    return tuple(
        FailedCheck(
            asset=evaluation.asset_key.to_user_string(),
            name=evaluation.check_name,
            is_warning=evaluation.severity == dg.AssetCheckSeverity.WARN,
            message=evaluation.description or "",
        )
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    )
