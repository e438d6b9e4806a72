"""Each check passes where it should, and has a case in which it does not."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from usage_pipeline.defs import checks
from usage_pipeline.defs.build import build_defs
from usage_pipeline.defs.checks import UsageFacts
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.defs.partitions import range_tags
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.ledger import DayState
from usage_pipeline.windows import Window, utc_now
from usage_pipeline_tests.dagster.stage import SILENT, Stage, recent, verdicts
from usage_pipeline_tests.played import Played, played_settings

pytestmark = pytest.mark.marts("cost_daily")

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TODAY = NOW.date()
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


def _known(*days: date, checked_at: datetime = NOW) -> dict[date, DayState]:
    return {day: DayState(content_hash="0", rows=1, changed_at=checked_at, checked_at=checked_at) for day in days}


def _days_ago(*numbers: int) -> list[date]:
    return [TODAY - timedelta(days=number) for number in numbers]


def _facts(states: Mapping[date, DayState], **more: Any) -> UsageFacts:
    window = Window.of_days(TODAY - timedelta(days=2), TODAY + timedelta(days=1))
    values: dict[str, Any] = {"window": window, "drift": [], "negative": {}, **more}
    return UsageFacts(endpoint=ENDPOINTS["completions"], today=TODAY, now=NOW, states=states, **values)


COMPLETE = _facts(_known(*_days_ago(0, 1, 2)))


@pytest.mark.parametrize("check", [checks.drift, checks.completeness, checks.non_negative, checks.freshness])
def test_a_good_run_passes(check: Any) -> None:
    """All days known just now, nothing unknown, nothing negative: every check passes."""
    assert check(COMPLETE).passed


def test_drift_warns_and_lists_what_is_new() -> None:
    """Fields nobody knows are listed with what to do; they fail no run."""
    result = checks.drift(_facts(COMPLETE.states, drift=["unknown field `x`"]))
    assert (result.passed, result.severity) == (False, WARN)
    assert result.metadata["drift"].value == ["unknown field `x`"]
    assert "endpoints.py" in str(result.description)


def test_a_closed_day_missing_from_the_window_is_an_error() -> None:
    """A run that should have brought a closed day and did not is told as an error."""
    result = checks.completeness(_facts(_known(*_days_ago(0, 2))))
    assert (result.passed, result.severity) == (False, ERROR)
    assert result.metadata["missing"].value == ["2026-11-19..2026-11-20"]


def test_a_gap_before_the_window_is_a_warning_with_the_way_out() -> None:
    """Days between the first known day and today that nobody read are named, and the command that reads them."""
    result = checks.completeness(_facts(_known(*_days_ago(0, 1, 2, 9))))
    assert (result.passed, result.severity) == (False, WARN)
    assert result.metadata["missing"].value == ["2026-11-12..2026-11-18"]
    assert "usage-pipeline sync --since 2026-11-12 --until 2026-11-18" in str(result.description)


def test_negative_counts_are_an_error() -> None:
    """A count below zero is told with its day and measure."""
    result = checks.non_negative(_facts(COMPLETE.states, negative={TODAY: ["input_tokens"]}))
    assert (result.passed, result.severity) == (False, ERROR)
    assert result.metadata["negative"].value == {"2026-11-20": ["input_tokens"]}


def test_old_knowledge_is_a_warning() -> None:
    """What is known only up to two days ago is not fresh, even if it was read just now."""
    result = checks.freshness(_facts(_known(*_days_ago(3, 4))))
    assert (result.passed, result.severity) == (False, WARN)
    assert "2026-11-18 00:00" in str(result.description)


def test_a_day_read_long_ago_is_not_fresh() -> None:
    """Today's day counts only up to the moment it was read."""
    stale = _known(TODAY, checked_at=NOW - checks.FRESH)
    assert not checks.freshness(_facts(stale)).passed


def test_checks_of_a_real_run(stage: Stage) -> None:
    """A run up to today passes every check of every endpoint."""
    result = stage.run(recent(6))
    assert result.success
    failed = {(one.asset_key.to_user_string(), one.check_name): one.description
              for one in result.get_asset_check_evaluations() if not one.passed}  # fmt: skip
    of_endpoints = {name: text for name, text in failed.items() if name[0].startswith("usage/")}
    assert of_endpoints.keys() <= {("usage/costs", "costs_have_usage")}, of_endpoints


class _Play:
    """Runs the job over buckets made by hand."""

    def __init__(self, data_dir: Path) -> None:
        self.service = Played(utc_now())
        start = utc_now().date() - timedelta(days=30)
        self.settings = played_settings(data_dir, USAGE_PIPELINE_START_DATE=start.isoformat())
        self.home = prepare_home(data_dir)

    def put(self, endpoint: str, day: date, **fields: Any) -> None:
        start = Window.of_days(day, day + timedelta(days=1)).start_time
        self.service.put(endpoint, start, {"object": ENDPOINTS[endpoint].result_object, **fields})

    def run(self, window: Window, only: str | None = None) -> dg.ExecuteInProcessResult:
        defs = build_defs(lambda: self.settings, client_factory=self.service.client)
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return defs.resolve_job_def("sync_usage").execute_in_process(
                instance=instance,
                tags=range_tags(window),
                asset_selection=[dg.AssetKey(only.split("/"))] if only else None,
                run_config=SILENT,
                raise_on_error=False,
            )


@pytest.fixture
def play(data_dir: Path) -> _Play:
    """A service that answers what a test gives it."""
    return _Play(data_dir)


def _embedded(**more: Any) -> dict[str, Any]:
    return {"input_tokens": 5, "num_model_requests": 1, "project_id": "proj_a", "model": "m", **more}


@pytest.mark.slow
def test_unknown_fields_and_negative_counts_reach_their_checks(play: _Play) -> None:
    """A field nobody knows warns, a negative count is an error, other endpoints' checks stay green."""
    day = utc_now().date()
    play.put("embeddings", day, **_embedded(input_tokens=-5, surprise="new"))
    result = play.run(recent(1))
    failed = {str(event.step_key) for event in result.all_node_events if event.is_step_failure}
    assert all(step.startswith("dims__") for step in failed), failed  # the service made by hand has no names
    drift, negative = verdicts(result, "drift"), verdicts(result, "non_negative")
    assert "surprise" in str(drift["usage/embeddings"].metadata["drift"].value)
    assert negative["usage/embeddings"].metadata["negative"].value == {day.isoformat(): ["input_tokens"]}
    assert {name for name, one in {**drift, **negative}.items() if not one.passed} == {"usage/embeddings"}


def test_credits_are_not_negative_counts(play: _Play) -> None:
    """A negative amount is a credit, which is normal; a negative quantity is not."""
    day = utc_now().date()
    play.put("costs", day, amount={"value": -2.5, "currency": "usd"}, project_id="proj_a")
    assert verdicts(play.run(recent(1), "usage/costs"), "non_negative")["usage/costs"].passed
    play.put("costs", day, amount={"value": 1, "currency": "usd"}, project_id="proj_a", line_item="x", quantity=-1)
    assert not verdicts(play.run(recent(1), "usage/costs"), "non_negative")["usage/costs"].passed


def _bill(play: _Play, day: date, project: str | None) -> None:
    play.put("costs", day, amount={"value": 2.5, "currency": "usd"}, project_id=project)


@pytest.mark.slow
def test_costs_and_usage_must_know_the_same_days_and_projects(play: _Play) -> None:
    """Billed without usage and used without a bill are listed by day and project; what both know is not."""
    billed, used, both, unassigned = (utc_now().date() - timedelta(days=number) for number in (6, 5, 4, 3))
    _bill(play, billed, "proj_a")
    play.put("embeddings", used, **_embedded())
    _bill(play, both, "proj_a")
    play.put("embeddings", both, **_embedded())
    _bill(play, unassigned, None)
    play.put("embeddings", unassigned, **_embedded())
    verdict = verdicts(play.run(recent(8)), "costs_have_usage")["usage/costs"]
    assert (verdict.passed, verdict.severity) == (False, WARN)
    assert verdict.metadata["billed_without_usage"].value == [{"date": billed.isoformat(), "project_id": "proj_a"}]
    assert verdict.metadata["used_without_bill"].value == [{"date": used.isoformat(), "project_id": "proj_a"}]


@pytest.mark.slow
def test_unsettled_days_are_not_compared(play: _Play) -> None:
    """Bills lag usage: yesterday's usage without a bill is no warning yet."""
    play.put("embeddings", utc_now().date() - timedelta(days=1), **_embedded())
    assert verdicts(play.run(recent(4)), "costs_have_usage")["usage/costs"].passed
