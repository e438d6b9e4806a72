"""Several organizations in Dagster: the same assets, days x organizations as partitions, a run for each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from usage_pipeline.defs.automation import DAILY_SYNC, SYNC_JOB
from usage_pipeline.defs.breach_checks import verdict
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.partitions import ORGANIZATION_TAG, RANGE_END, RANGE_START, range_tags
from usage_pipeline.marts.findings import Finding
from usage_pipeline.organizations import Organizations
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.dagster.stage import SILENT, failures, recent, values
from usage_pipeline_tests.many import Many, serving_many
from usage_pipeline_tests.receiver import receiving
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("cost_daily", "budget_status", "anomalies", "cost_drivers_daily", "cost_allocated")

LABELS = {"acme": "ACME_KEY", "keyless": "NO_KEY", "stranger": "STRANGER_KEY", "twin": "TWIN_KEY"}
STRANGER = "sk-admin-stranger-1c2d3e4f"
COSTS = ("usage/costs", "marts/cost_daily", "dims/users")


@dataclass
class Scene:
    """Four organizations, of which one has no key and one a key that is refused, and an instance to run on."""

    many: Many
    instance: dg.DagsterInstance

    @property
    def organizations(self) -> Organizations:
        """As the environment has them now."""
        return Organizations.from_env()

    def defs(self) -> dg.Definitions:
        """The definitions."""
        return build_defs(organizations=Organizations.from_env, client_factory=self.many.client)

    def run(self, tags: dict[str, str], only: tuple[str, ...] = COSTS) -> dg.ExecuteInProcessResult:
        """Run these assets."""
        job = self.defs().resolve_job_def(SYNC_JOB)
        selection = [dg.AssetKey(name.split("/")) for name in only]
        return job.execute_in_process(
            instance=self.instance, tags=tags, asset_selection=selection, run_config=SILENT, raise_on_error=False
        )

    def partitions(self, asset: str) -> set[str]:
        """The partitions that are there."""
        return set(self.instance.get_materialized_partitions(dg.AssetKey(asset.split("/"))))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The scene, in the present."""
    now = utc_now()
    with serving_many(now) as many:
        start = (now.date() - timedelta(days=3)).isoformat()
        for name, value in many.configure(
            tmp_path, LABELS, STRANGER_KEY=STRANGER, USAGE_PIPELINE_START_DATE=start
        ).items():
            monkeypatch.setenv(name, value)
        home = prepare_home(tmp_path / "data")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield Scene(many, instance)


def test_there_are_the_same_assets_and_a_partition_for_each_day_and_organization(scene: Scene) -> None:
    """However many organizations, the graph is that of one; the partitions say whose day it is."""
    several, one = scene.defs(), build_defs(lambda: scene.organizations.members[0])
    keys = [set(defs.resolve_asset_graph().get_all_asset_keys()) for defs in (several, one)]
    assert keys[0] == keys[1]
    for key in several.resolve_asset_graph().materializable_asset_keys - {dg.AssetKey("maintenance")}:
        partitions = several.resolve_asset_graph().get(key).partitions_def
        assert isinstance(partitions, dg.MultiPartitionsDefinition)
        assert len(partitions.get_partition_keys()) == 4 * len(LABELS)


@pytest.mark.slow
def test_a_run_is_of_one_and_one_that_fails_is_no_others_trouble(scene: Scene) -> None:
    """Acme's run fills acme's partitions; the others' fail and say whose they are; acme stays published."""
    good = scene.run(range_tags(recent(2), "acme"))
    assert good.success, failures(good)
    mine = {f"{day}|acme" for day in recent(2).dates()}
    assert all(scene.partitions(asset) == mine for asset in COSTS)
    for label, reason in (("stranger", "the key"), ("keyless", "NO_KEY is not set")):
        bad = failures(scene.run(range_tags(recent(1), label), ("usage/costs",)))
        assert bad["usage__costs"].startswith(f"organization {label}: ")
        assert reason in bad["usage__costs"]
    assert scene.partitions("usage/costs") == mine
    folder = scene.organizations.folder
    assert rows(folder, "select distinct organization from marts.cost_daily") == [("acme",)]


@pytest.mark.slow
def test_a_run_of_a_day_and_several_organizations_tells_of_each(scene: Scene) -> None:
    """So Dagster asks for a backfill of fewer days than organizations: each has its facts, one failing is named."""
    day, _ = recent(2).dates()  # yesterday: a bill comes hours later, so today has none in the morning
    found = scene.run({RANGE_START: f"{day}|acme", RANGE_END: f"{day}|twin"}, ("usage/costs",))
    assert failures(found)["usage__costs"].startswith("organization keyless: ")
    folder = scene.organizations.folder
    assert rows(folder, "select distinct organization from usage.costs order by 1") == [("acme",), ("twin",)]
    again = scene.run({RANGE_START: f"{day}|twin", RANGE_END: f"{day}|twin"}, ("usage/costs",))
    assert again.success
    assert scene.partitions("usage/costs") == {f"{day}|twin"}
    record = scene.instance.fetch_materializations(dg.AssetKey(["usage", "costs"]), limit=1).records[0]
    assert record.asset_materialization is not None
    assert values(record.asset_materialization.metadata)["organization"] == "twin"


def test_the_schedule_asks_for_a_run_of_each_until_it_succeeded(scene: Scene) -> None:
    """One tick, a run per organization over what is due for it; one that succeeded is not asked for again."""

    def tick() -> list[dg.RunRequest]:
        defs = scene.defs()
        context = dg.build_schedule_context(
            instance=scene.instance, repository_def=defs.get_repository_def(), scheduled_execution_time=utc_now()
        )
        return list(defs.resolve_schedule_def(DAILY_SYNC).evaluate_tick(context).run_requests or [])

    first = (utc_now().date() - timedelta(days=3)).isoformat()
    asked = {request.tags[ORGANIZATION_TAG]: request.tags for request in tick()}
    assert list(asked) == list(LABELS)
    assert asked["twin"][RANGE_START] == f"{first}|twin"
    done = {"dagster/schedule_name": DAILY_SYNC, ORGANIZATION_TAG: "acme"}
    scene.instance.add_run(dg.DagsterRun(job_name=SYNC_JOB, tags=done, status=dg.DagsterRunStatus.SUCCESS))
    assert [request.tags[ORGANIZATION_TAG] for request in tick()] == ["keyless", "stranger", "twin"]


def test_what_is_found_of_each_is_told_whoever_ran_last(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later run of another organization, whose budget holds, hides no breach; a later one of its own does."""

    def evaluated(label: str, *found: Finding) -> None:
        result = verdict(found, [label])
        event = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["marts", "budget_status"]),
            check_name="budget",
            passed=result.passed,
            metadata=result.metadata,
        )
        scene.instance.report_runless_asset_event(event)

    breach = Finding(check="budget", is_error=True, key="k|acme", message="acme: breached")
    evaluated("twin", replace(breach, key="k|twin", message="twin: old"))
    evaluated("acme", breach)
    evaluated("twin")
    with receiving() as receiver:
        monkeypatch.setenv("USAGE_PIPELINE_WEBHOOK_URL", receiver.url.get_secret_value())
        defs = scene.defs().get_repository_def()
        context = dg.build_sensor_context(instance=scene.instance, repository_def=defs, sensor_name="alert_breach")
        defs.get_sensor_def("alert_breach").evaluate_tick(context)
        assert receiver.texts == ["usage-pipeline: acme: breached"]
