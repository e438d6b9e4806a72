"""Spend limits of the service as budgets: read exactly, kept over failures, replayed, and second to budgets.csv."""

import asyncio
import shutil
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.errors import BadPayload, PermissionRefused, RetryLater, UsagePipelineError
from usage_pipeline.lake.names import replace_names
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.findings import budget_findings
from usage_pipeline.name_lists import LISTS, SPEND_LIMITS
from usage_pipeline.records import ListedName, NamesRead
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.daily_bills import Bills
from usage_pipeline_tests.scripted import Script, error, ok, script
from usage_pipeline_tests.unit.test_budgets import START, TODAY, TOMORROW
from usage_pipeline_tests.unit.test_name_reads import by_path, listing, project
from usage_pipeline_tests.unit.test_names import refusing
from usage_pipeline_tests.world import NOW, World, everything, last_days, rows

pytestmark = pytest.mark.marts("budget_status")

LIMITS = list(SPEND_LIMITS.values())
_BUDGETS = "select project_id, amount, currency, source from dims.budgets order by all"


def limit(cents: Any, kind: str = "project", **more: Any) -> httpx.Response:
    """A limit as the wire has it."""
    enforcement = {"status": "inactive"}
    body = {"object": f"{kind}.spend_limit", "threshold_amount": cents, "currency": "USD", "interval": "month"}
    return ok({**body, "enforcement": enforcement, **more})


def read(far_side: Script, name: str) -> NamesRead:
    """One kind of limits against a script."""

    async def run() -> NamesRead:
        async with far_side.client() as client:
            return await client.read_names(LISTS[name])

    return asyncio.run(run())


def test_cents_become_money_exactly_and_none_is_none() -> None:
    """Every project is asked, archived ones too; 404 means no limit; the pages of the others are what is archived."""
    pages = {
        "/projects": listing(project("a"), project("b"), project("c")),
        "/a/spend_limit": limit(1),
        "/b/spend_limit": error(404, "Spend limit not found."),
        "/c/spend_limit": limit(9007199254740993, currency="EUR", note="new"),
    }
    found = read(script(by_path(pages)), "project_spend_limits")
    assert [(one.id, one.columns["amount"]) for one in found.items] == [
        ("a", Decimal("0.01")),
        ("c", Decimal("90071992547409.93")),
    ]
    assert found.items[0].columns == {
        "amount": Decimal("0.01"),
        "currency": "USD",
        "interval": "month",
        "enforcement": "inactive",
    }
    assert (found.requests, len(found.pages), found.items[1].extras) == (4, 2, {"note": "new"})
    assert found.drift == (
        "dims.project_spend_limits.currency: new value 'EUR'",
        "dims.project_spend_limits: unknown field 'note', kept in extras",
    )
    assert read(script(error(404, "none")), "organization_spend_limits").items == []


@pytest.mark.parametrize(
    ("answer", "wrong", "says"),
    [
        (limit(10.5, "organization"), BadPayload, "organization_spend_limits: .*threshold_amount"),
        (limit(-1, "organization"), BadPayload, "threshold_amount"),
        (limit(100), BadPayload, "object"),
        (ok({"object": "list", "data": []}), BadPayload, "organization_spend_limits: "),
        (error(403, "Missing scopes: api.management.read"), PermissionRefused, "can be written in budgets.csv instead"),
        (error(500, "busy"), RetryLater, "organization_spend_limits: "),
    ],
)
def test_what_is_no_limit_fails_the_list(answer: Any, wrong: type[UsagePipelineError], says: str) -> None:
    """A fraction of a cent, another object, a missing right or an outage is an error, never a limit of zero or none."""
    with pytest.raises(wrong, match=says):
        read(script(*[answer] * 8), "organization_spend_limits")


def served(world: World) -> list[tuple[Any, ...]]:
    """The limits the organization has now, as budgets."""
    ids = [*sorted(life.id for life in world.organization.directory.projects), None]
    return [
        (id_, Decimal(one["threshold_amount"]) / 100, "usd", "spend_limit")
        for id_ in ids
        for one in world.organization.names(LIMITS[0] if id_ is None else LIMITS[1], id_) or []
    ]


@pytest.mark.slow
def test_limits_are_budgets_followed_over_time_and_replayed(world: World, tmp_path: Path) -> None:
    """Over a year budgets are the limits as last read, every version is kept, and raw alone gives all of it back."""
    settings = world.settings(tmp_path)
    world.clock.set(NOW - timedelta(days=400))
    counts = set()
    for _ in range(5):
        report = world.sync(settings, last_days(1, world.clock().date()), ["costs"], LIMITS)
        assert [(one.label, one.error) for one in report.names] == [(row.label, None) for row in LIMITS]
        assert rows(settings, _BUDGETS) == served(world)
        counts.add(len(served(world)))
        world.clock.advance(timedelta(days=100))
    assert len(counts) > 1, "some were set or lifted"
    versions = "select count(*) > 1 from dims.organization_spend_limits where id = 'organization'"
    assert rows(settings, versions) == [(True,)]
    before = everything(settings, ["dims", "marts"])
    shutil.rmtree(settings.lake_dir)
    replay(settings.model_copy(update={"base_url": "http://127.0.0.1:9"}))
    assert everything(settings, ["dims", "marts"]) == before


@pytest.mark.slow
def test_a_limit_that_was_lifted_is_replayed_as_lifted(world: World, tmp_path: Path) -> None:
    """Where nothing is left to list, the empty list is news too: raw holds it."""
    settings = world.settings(tmp_path)
    world.sync(settings, last_days(1), ["costs"], LIMITS)
    assert len(rows(settings, _BUDGETS)) > 1
    world.clock.advance(timedelta(hours=1))
    with LoopbackServer(refusing(world, lambda path: path.endswith("/spend_limit"), 404)) as server:
        lifted = settings.model_copy(update={"base_url": server.base_url})
        report = world.sync(lifted, last_days(1), ["costs"], LIMITS)
    assert [(one.outcome, one.total("rows")) for one in report.names] == [("replaced", 0)] * 2
    assert rows(settings, _BUDGETS) == []
    before = everything(settings, ["dims"])
    shutil.rmtree(settings.lake_dir)
    replay(settings)
    assert everything(settings, ["dims"]) == before


def test_limits_that_cannot_be_read_stay_as_they_are(world: World, tmp_path: Path) -> None:
    """One project's failing answer fails that list alone; its budgets, and everything else, are kept."""
    settings = world.settings(tmp_path)
    world.sync(settings, last_days(1), ["costs"], LIMITS)
    before = rows(settings, _BUDGETS)
    world.clock.advance(timedelta(days=300))
    some = world.organization.directory.projects[0].id
    with LoopbackServer(refusing(world, lambda path: path.endswith(f"{some}/spend_limit"), 400)) as server:
        broken = settings.model_copy(update={"base_url": server.base_url})
        report = world.sync(broken, last_days(1, world.clock().date()), ["costs"], LIMITS)
    assert not report.failed
    assert [(one.label, one.outcome) for one in report.names] == [
        ("dims.organization_spend_limits", "replaced"),
        ("dims.project_spend_limits", "failed"),
    ]
    after = rows(settings, _BUDGETS)
    assert [one for one in after if one[0]] == [one for one in before if one[0]]
    assert after == sorted(
        {*after, *(one for one in served(world) if one[0] is None)}, key=lambda one: str(one[0] or "~")
    )


def _limited(settings: Settings, limits: Mapping[str, str]) -> None:
    """Put limits into the lake as if they had been read."""
    for name in SPEND_LIMITS:
        items = [
            ListedName(
                id=id_,
                columns={"amount": Decimal(amount), "currency": "USD", "interval": "month", "enforcement": "enforcing"},
                extras={},
            )
            for id_, amount in limits.items()
            if (id_ == "organization") == (name == "organization_spend_limits")
        ]
        replace_names(Lake(settings.lake_dir), name, settings.organization, items, NOW)
    refresh(settings)


def test_the_file_wins_over_the_limit_of_the_same(data_dir: Path) -> None:
    """A line for every month replaces the limit, one for a month counts in it, another currency is another budget."""
    bills = Bills(data_dir, TODAY)
    bills.bill_days(START, TODAY, 10)
    bills.budget("organization,,,250.00,usd", "project,p,2026-10,7,usd", "project,p,,5,eur")
    settings = bills.sync(START, TOMORROW)
    _limited(settings, {"organization": "1000", "p": "195.5", "q": "0.01"})
    assert rows(settings, _BUDGETS) == [
        ("p", 5, "eur", "budgets.csv"),
        ("p", 7, "usd", "budgets.csv"),
        ("p", Decimal("195.5"), "usd", "spend_limit"),
        ("q", Decimal("0.01"), "usd", "spend_limit"),
        (None, 250, "usd", "budgets.csv"),
    ]
    sql = "select project_id, month::varchar, budget, budget_source, status from marts.budget_status"
    assert rows(settings, f"{sql} where currency = 'usd' and month >= '2026-10-01' order by all") == [
        ("p", "2026-10-01", 7, "budgets.csv", "breached"),
        ("p", "2026-11-01", Decimal("195.5"), "spend_limit", "at_risk"),
        ("q", "2026-10-01", Decimal("0.01"), "spend_limit", "no_cost"),
        ("q", "2026-11-01", Decimal("0.01"), "spend_limit", "no_cost"),
        (None, "2026-10-01", 250, "budgets.csv", "breached"),
        (None, "2026-11-01", 250, "budgets.csv", "at_risk"),
    ]
    found = {one.key.split("|")[3]: one.message for one in budget_findings(Lake(settings.lake_dir), "default")}
    assert found.keys() == {"", "p"}, "the service's limit of a project without cost is no typo"
    assert "raise the budget in budgets.csv" in found[""]
    (settings.data_dir / "budgets.csv").unlink()
    refresh(settings)
    assert [one[3] for one in rows(settings, _BUDGETS)] == ["spend_limit"] * 3
    found = {one.key.split("|")[3]: one.message for one in budget_findings(Lake(settings.lake_dir), "default")}
    assert "then spend less or raise the spend limit." in found["p"]
