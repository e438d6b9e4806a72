"""Sensors that tell people: a run failed, a budget or an anomaly check does not hold.

Put what is worth an alert, and that it is told once, here; sending is api/webhook.py's. They do nothing, and are off,
until USAGE_PIPELINE_WEBHOOK_URL is set; its value goes only into the request.
"""

import json
from collections.abc import Callable, Iterator

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from usage_pipeline.api.webhook import send_alert
from usage_pipeline.defs.breach_checks import FINDINGS, breach_keys
from usage_pipeline.settings import Settings

_SECONDS = 60  # between looks; a receiver that fails is tried again no sooner
_REMEMBERED = 500  # keys of alerts told; a key names its month or day, so old ones do not come back
# not those a run has planned and not come to
_EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
_NOT_SET = "USAGE_PIPELINE_WEBHOOK_URL is not set."


def alerts(read_settings: Callable[[], Settings], *, is_on: bool) -> dg.Definitions:
    """Both sensors: on from the start where a webhook is configured, until someone turns them off in the UI."""
    status = dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED
    return dg.Definitions(sensors=[_failure_sensor(read_settings, status), _breach_sensor(read_settings, status)])


def _failure_sensor(read_settings: Callable[[], Settings], status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alert_run_failed",
        description="Posts to the webhook when a run failed.",
        default_status=status,
        minimum_interval_seconds=_SECONDS,
    )
    def alert_run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        url = read_settings().webhook_url
        if url is None:
            return dg.SkipReason(_NOT_SET)
        send_alert(url, _failure_lines(context))
        return None

    return alert_run_failed


def _failure_lines(context: dg.RunFailureSensorContext) -> list[str]:
    """Which run, the steps that failed with their own one line, what to do. An unexpected error's text is not sent."""
    run = context.dagster_run
    lines = [f"usage-pipeline: run {run.run_id} of {run.job_name} failed."]
    for event in context.get_step_failure_events():
        told = event.step_failure_data.user_failure_data
        reason = (told.description if told else None) or "unexpected error"
        lines.append(f"{str(event.step_key).replace('__', '/', 1)}: {reason}")
    lines.append(
        f"What to do: open the run in `usage-pipeline ui` (/runs/{run.run_id}), mend what it names, re-execute it from "
        "failure; what it did read is kept."
    )
    return lines


def _breach_sensor(read_settings: Callable[[], Settings], status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.sensor(
        name="alert_breach",
        description="Posts to the webhook what the budget and anomaly checks find, each finding once.",
        default_status=status,
        minimum_interval_seconds=_SECONDS,
    )
    def alert_breach(context: dg.SensorEvaluationContext) -> dg.SkipReason | dg.SensorResult:
        url = read_settings().webhook_url
        if url is None:
            return dg.SkipReason(_NOT_SET)
        told = list(json.loads(context.cursor)) if context.cursor else []
        new = {key: message for key, message in _findings(context.instance) if key not in told}
        if not new:
            return dg.SkipReason("Nothing new is found by the budget and anomaly checks.")
        send_alert(url, [f"usage-pipeline: {message}" for message in new.values()])
        cursor = json.dumps([*told, *new][-_REMEMBERED:])
        return dg.SensorResult(skip_reason=f"Told of {len(new)} findings.", cursor=cursor)

    return alert_breach


def _findings(instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    """Key and message of what the latest evaluation of each check found."""
    for key in breach_keys():
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=1, status=_EVALUATED)
        evaluation = history[0].evaluation if history else None
        if evaluation is None or evaluation.passed:
            continue
        listed = evaluation.metadata[FINDINGS].value
        if isinstance(listed, list):
            yield from ((str(one["key"]), str(one["message"])) for one in listed)
