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
from usage_pipeline.defs.several import ORGANIZATION
from usage_pipeline.organizations import Organizations

_SECONDS = 60  # between looks; a receiver that fails is tried again no sooner
_REMEMBERED = 500  # keys of alerts told; a key names its month or day, so old ones do not come back
_LOOKED_AT = 3  # evaluations of each of several organizations, the newest first: runs end in any order
# not those a run has planned and not come to
_EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
_NOT_SET = "USAGE_PIPELINE_WEBHOOK_URL is not set."


def alerts(read: Callable[[], Organizations], *, is_on: bool) -> dg.Definitions:
    """Both sensors: on from the start where a webhook is configured, until someone turns them off in the UI."""
    status = dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED
    return dg.Definitions(sensors=[_failure_sensor(read, status), _breach_sensor(read, status)])


def _failure_sensor(read: Callable[[], Organizations], status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alert_run_failed",
        description="Posts to the webhook when a run failed.",
        default_status=status,
        minimum_interval_seconds=_SECONDS,
    )
    def alert_run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        url = read().folder.webhook_url
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


def _breach_sensor(read: Callable[[], Organizations], status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.sensor(
        name="alert_breach",
        description="Posts to the webhook what the budget and anomaly checks find, each finding once.",
        default_status=status,
        minimum_interval_seconds=_SECONDS,
    )
    def alert_breach(context: dg.SensorEvaluationContext) -> dg.SkipReason | dg.SensorResult:
        organizations = read()
        url = organizations.folder.webhook_url
        if url is None:
            return dg.SkipReason(_NOT_SET)
        told = list(json.loads(context.cursor)) if context.cursor else []
        found = _findings(context.instance, len(organizations.members))
        new = {key: message for key, message in found if key not in told}
        if not new:
            return dg.SkipReason("Nothing new is found by the budget and anomaly checks.")
        send_alert(url, [f"usage-pipeline: {message}" for message in new.values()])
        cursor = json.dumps([*told, *new][-_REMEMBERED * len(organizations.members) :])
        return dg.SensorResult(skip_reason=f"Told of {len(new)} findings.", cursor=cursor)

    return alert_breach


def _findings(instance: dg.DagsterInstance, organizations: int) -> Iterator[tuple[str, str]]:
    """Key and message of what the latest evaluation of each check found; of several organizations, of each."""
    looked_at = 1 if organizations == 1 else _LOOKED_AT * organizations
    for key in breach_keys():
        seen: set[object] = set()
        for record in instance.event_log_storage.get_asset_check_execution_history(
            key, limit=looked_at, status=_EVALUATED
        ):
            evaluation = record.evaluation
            told = evaluation.metadata.get(ORGANIZATION) if evaluation is not None else None
            whose = None if told is None else told.value
            if evaluation is None or whose in seen:
                continue
            seen.add(whose)
            listed = [] if evaluation.passed else evaluation.metadata[FINDINGS].value
            if isinstance(listed, list):
                yield from ((str(one["key"]), str(one["message"])) for one in listed)
