"""Alerts: real runs and sensors on a real instance, posted to a receiver on loopback."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from usage_pipeline.defs.breach_checks import FINDINGS, verdict
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.errors import RetryLater
from usage_pipeline.marts.findings import Finding
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.dagster.stage import SILENT
from usage_pipeline_tests.daily_bills import Bills
from usage_pipeline_tests.receiver import SECRET, Receiver, receiving

pytestmark = [pytest.mark.slow, pytest.mark.marts("anomalies", "budget_status", "cost_daily_by_project")]

# From the costs to both marts, each step after what it reads.
MARTS = ("cost_daily", "cost_daily_by_project", "budget_status", "cost_allocated", "cost_drivers_daily", "anomalies")
ASSETS = ("usage/costs", *(f"marts/{name}" for name in MARTS))


class _Scene:
    """Bills of the last month up to today, an instance, and the definitions with a webhook."""

    def __init__(self, data_dir: Path, receiver: Receiver, instance: dg.DagsterInstance) -> None:
        self.today = utc_now().date()
        start = (self.today - timedelta(days=40)).isoformat()
        self.bills = Bills(data_dir, self.today, USAGE_PIPELINE_START_DATE=start)
        self.settings = self.bills.settings.model_copy(update={"webhook_url": receiver.url})
        self.instance = instance
        self.bills.bill_days(self.today - timedelta(days=40), self.today, 10, quantity=1)
        self.bills.service.now = utc_now() - timedelta(hours=2)
        self.bills.sync(self.today - timedelta(days=40), self.today)
        self.bills.service.now = utc_now()

    def defs(self, settings: Settings | None = None) -> dg.Definitions:
        """The definitions over these bills."""
        return build_defs(lambda: settings or self.settings, client_factory=self.bills.service.client)

    def run(self, *assets: str) -> dg.ExecuteInProcessResult:
        """Run the job over the costs of the last three days; those before are known."""
        self.bills.put()
        job = self.defs().resolve_job_def("sync_usage")
        window = Window.of_days(self.today - timedelta(days=2), self.today + timedelta(days=1))
        return job.execute_in_process(
            instance=self.instance,
            tags=range_tags(window),
            asset_selection=[dg.AssetKey(name.split("/")) for name in assets or ASSETS],
            run_config=SILENT,
            raise_on_error=False,
        )

    def look(self, cursor: str | None = None, settings: Settings | None = None) -> Any:
        """One tick of the breach sensor."""
        defs = self.defs(settings)
        context = dg.build_sensor_context(
            instance=self.instance, cursor=cursor, repository_def=defs.get_repository_def(), sensor_name="alert_breach"
        )
        return _sensor(defs, "alert_breach").evaluate_tick(context)


def _sensor(defs: dg.Definitions, name: str) -> Any:
    return defs.get_repository_def().get_sensor_def(name)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of the test's own."""
    with receiving() as found:
        yield found


@pytest.fixture
def scene(data_dir: Path, receiver: Receiver) -> Iterator[_Scene]:
    """A scene of the test's own."""
    with dg.DagsterInstance.from_config(str(prepare_home(data_dir))) as instance:
        yield _Scene(data_dir, receiver, instance)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {
        one.check_name: (one.passed, one.severity.value)
        for one in result.get_asset_check_evaluations()
        if one.check_name in {"budget", "anomaly"}
    }


def test_a_breach_is_told_once(scene: _Scene, receiver: Receiver) -> None:
    """A budget overrun fails its check, is posted with what to do, and not again; a new finding is."""
    scene.bills.budget("organization,,,1,usd")
    assert _checks(scene.run())["budget"] == (False, "ERROR")
    told = scene.look()
    assert len(receiver.texts) == 1
    assert "usage-pipeline: Budget breached: the organization has spent" in receiver.texts[0]
    assert "usage-pipeline explain" in receiver.texts[0]
    assert SECRET not in str(told.cursor)
    again = scene.look(told.cursor)
    assert (len(receiver.texts), again.cursor) == (1, told.cursor)
    scene.bills.budget("organization,,,1,usd", "project,p,,2,usd")
    scene.run("marts/budget_status")
    scene.look(told.cursor)
    assert len(receiver.texts) == 2
    assert "project p" in receiver.texts[1]
    assert "the organization" not in receiver.texts[1]


def test_what_holds_is_not_told(scene: _Scene, receiver: Receiver) -> None:
    """Budgets that hold and a usual day pass both checks, and nothing is posted."""
    scene.bills.budget("organization,,,100000,usd")
    assert _checks(scene.run()) == {"budget": (True, "WARN"), "anomaly": (True, "WARN")}
    assert "Nothing new" in str(scene.look().skip_message)
    assert receiver.posts == []


def test_an_anomaly_reaches_the_receiver_escaped(scene: _Scene, receiver: Receiver) -> None:
    """A line item that would mention everyone arrives as text."""
    for back in (1, 2):  # the last closed day is yesterday, or before 8 o'clock the day before
        scene.bills.bill(scene.today - timedelta(days=back), 90, line_item="<!channel> gpt-9, output", project_id="q")
    assert not _checks(scene.run())["anomaly"][0]
    scene.look()
    assert "&lt;!channel&gt; gpt-9" in receiver.texts[0]
    assert "<!channel>" not in receiver.texts[0]


def test_a_receiver_that_fails_is_tried_at_the_next_look(scene: _Scene, receiver: Receiver) -> None:
    """The tick fails with one line, its cursor does not move, and the alert is sent when the receiver is back."""
    scene.bills.budget("organization,,,1,usd")
    scene.run()
    receiver.status = 503
    with pytest.raises(RetryLater, match="answered 503"):
        scene.look()
    assert len(receiver.posts) == 1
    receiver.status = 200
    assert scene.look().cursor
    assert len(receiver.posts) == 2


def test_without_a_webhook_nothing_is_sent(scene: _Scene, receiver: Receiver) -> None:
    """Unset, both sensors are off and a tick by hand says why it does nothing; set, they are on."""
    scene.bills.budget("organization,,,1,usd")
    scene.run()
    assert "USAGE_PIPELINE_WEBHOOK_URL is not set" in str(scene.look(settings=scene.bills.settings).skip_message)
    assert receiver.posts == []
    for settings, status in ((scene.bills.settings, "STOPPED"), (scene.settings, "RUNNING")):
        defs = scene.defs(settings)
        assert {_sensor(defs, name).default_status.value for name in ("alert_run_failed", "alert_breach")} == {status}


def test_a_failed_run_is_told_with_its_reason(scene: _Scene, receiver: Receiver) -> None:
    """The post names the run, the failed step and its line, and what to do."""
    scene.bills.budget("organization,,,much,usd")
    result = scene.run()
    assert not result.success
    defs = scene.defs()
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_run_failed",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=scene.instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    _sensor(defs, "alert_run_failed")(context)
    assert len(receiver.texts) == 1
    assert f"run {result.run_id} of sync_usage failed" in receiver.texts[0]
    assert "column amount" in receiver.texts[0]
    assert f"/runs/{result.run_id}" in receiver.texts[0]


def test_a_verdict_lists_what_was_found() -> None:
    """Without findings it passes; a warning warns, an error is one; keys and messages are in the metadata."""
    assert verdict([]).passed
    warning = Finding(check="budget", is_error=False, key="k", message="m")
    error = Finding(check="budget", is_error=True, key="e", message="n")
    assert verdict([warning]).severity == dg.AssetCheckSeverity.WARN
    both = verdict([error, warning])
    assert (both.passed, both.severity, both.description) == (False, dg.AssetCheckSeverity.ERROR, "n\nm")
    assert both.metadata[FINDINGS].value == [{"key": "e", "message": "n"}, {"key": "k", "message": "m"}]
