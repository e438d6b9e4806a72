"""Dagster's runs with the lake at a URL: the same rows, whoever's folder a step has."""

from pathlib import Path

import pytest

from usage_pipeline.lake import objects
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.dagster.apart import run_apart
from usage_pipeline_tests.dagster.stage import Stage, failures, recent, staged
from usage_pipeline_tests.objects.bucket import Bucket, failing
from usage_pipeline_tests.objects.conftest import SECRET
from usage_pipeline_tests.world import everything

pytestmark = [pytest.mark.slow, pytest.mark.marts("cost_daily")]
SOME = ("usage/costs", "usage/images", "dims/projects", "marts/cost_daily", "warehouse")
SCHEMAS = ("usage", "marts", "dims")
_SAME = {"usage.costs", "usage.images", "marts.cost_daily"}


def _in_a_folder(stage: Stage, folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """What a run of the same days brings into a lake of its own."""
    alone = stage.settings.model_copy(update={"data_dir": folder, "lake_url": None, "executor": "in_process"})
    assert Stage(stage.world, stage.gate, alone, stage.instance).run(recent(3), SOME).success
    return everything(alone, SCHEMAS)


def test_a_run_brings_the_same_rows(data_dir: Path, tmp_path: Path, bucket: Bucket) -> None:
    """Endpoints, names, a mart, their checks and the published file; another host then says the same."""
    with staged(data_dir, USAGE_PIPELINE_LAKE_URL=bucket.url) as stage:
        result = stage.run(recent(3), SOME)
        assert (result.success, failures(result)) == (True, {})
        expected = _in_a_folder(stage, tmp_path / "alone")
        assert everything(stage.settings, SCHEMAS) == expected
        other = stage.settings.model_copy(update={"data_dir": tmp_path / "other"})
        refresh(other)
        assert everything(other, SCHEMAS) == expected
        assert verify(other).findings == []


def test_steps_in_processes_of_their_own(data_dir: Path, tmp_path: Path, bucket: Bucket) -> None:
    """What `multiprocess` brings at once is what one process brings, and nothing that is told has the secret."""
    with staged(data_dir, USAGE_PIPELINE_LAKE_URL=bucket.url, USAGE_PIPELINE_EXECUTOR="multiprocess") as stage:
        told = run_apart(stage.settings, recent(3), SOME, {"USAGE_PIPELINE_LAKE_URL": bucket.url})
        assert SECRET not in told
        brought, expected = everything(stage.settings, SCHEMAS), _in_a_folder(stage, tmp_path / "alone")
        # Their clocks differ, and so does when a name was first seen.
        assert {name: held for name, held in brought.items() if name in _SAME} == {
            name: expected[name] for name in _SAME
        }


def test_a_store_out_of_reach_fails_the_steps_with_its_error(
    data_dir: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's description is the one line; the secret is in none of the run's events."""
    monkeypatch.setattr(objects, "_RETRIES", 0)
    bucket.spoil = lambda *_: failing("403 Forbidden", "SignatureDoesNotMatch")
    with staged(data_dir, USAGE_PIPELINE_LAKE_URL=bucket.url) as stage:
        result = stage.run(recent(1), ("usage/costs",))
        assert not result.success
        (said,) = failures(result).values()
        assert "refuses the credentials of the environment (SignatureDoesNotMatch)" in said
        events = "".join(str(one) for one in stage.instance.all_logs(result.run_id))
        assert SECRET not in events
