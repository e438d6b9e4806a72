"""The report in a real browser: as a manager sees it, on any screen, in print, and with names that mean harm.

Put what only a browser can tell here; what the report says is unit/test_report.py's.
"""

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.report.queries import marts_read
from usage_pipeline.report.write import write_report
from usage_pipeline.settings import Settings
from usage_pipeline_tests.daily_bills import Bills
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.reported import NOW, TRICKS, planted
from usage_pipeline_tests.viewing import Viewer, chromium
from usage_pipeline_tests.world import last_days

pytestmark = pytest.mark.slow

WIDTHS = (375, 768, 1280)
# Elements whose own box leaves the window; what scrolls inside its own frame does not.
_OUTSIDE = """
() => [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5)
    && !one.closest(".scroll") && !one.closest(".unseen") && !one.closest(".skip");
}).map((one) => one.outerHTML.slice(0, 120))
"""
_DRAWN = """
[...document.querySelectorAll('[data-chart="project"] .mark-rect path')]
  .filter((bar) => bar.getBBox().height > 0).length
"""
# Of a chart: the middles of its days, its days' names with where they begin and end, and where it ends.
_PLACES = """
(chart) => {
  const svg = document.querySelector(`[data-chart="${chart}"] svg`), box = (one) => one.getBoundingClientRect();
  const middle = (one) => Math.round(box(one).left + box(one).width / 2);
  const bars = [...svg.querySelectorAll(".mark-rect path")].map(middle);
  const names = [...svg.querySelectorAll("text")].filter((one) => /^\\d+ [A-Z][a-z]{2}$/.test(one.textContent))
    .filter((one) => +getComputedStyle(one).opacity > 0);
  return [[...new Set(bars)].sort((a, b) => a - b),
    names.map((one) => [one.textContent, box(one).left, box(one).right]), box(svg).right];
}
"""
_BARS = '[data-chart="project"] .mark-rect path'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One report for all: 200 projects, hostile names, hours, an anomaly, no budget, euros."""
    folder = tmp_path_factory.mktemp("report")
    with only_marts(*marts_read()):
        settings = planted(folder / "data")
    return write_report(settings, now=NOW, output=folder / "my report.html").path


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of warehouses that lack something: bills, days, days to come."""
    folder = tmp_path_factory.mktemp("others")
    with only_marts(*marts_read()):
        bare = played_settings(folder / "bare")
        Played(NOW).sync(bare, last_days(3), "embeddings")
        bills = Bills(folder / "billed")
        bills.bill_days(date(2026, 9, 20), date(2026, 11, 20), "12.5", quantity=5)
        bills.budget("organization,,,300.00,usd")
        billed = bills.sync(date(2026, 9, 20), date(2026, 11, 20))
        bills = Bills(folder / "long")
        bills.bill_days(date(2025, 12, 10), date(2026, 11, 20), "12.5", quantity=5)
        long = bills.sync(date(2025, 12, 10), date(2026, 11, 20))
    asked: dict[str, tuple[Settings, dict[str, Any]]] = {
        "no bill": (bare, {}),
        "one day": (billed, {"last": 1}),
        "a month that is over": (billed, {"month": "2026-10"}),
        "a month with a budget": (billed, {}),
        "a year": (long, {"last": 366}),
    }
    return {
        name: write_report(settings, now=NOW, output=folder / f"{name}.html", **more).path
        for name, (settings, more) in asked.items()
    }


@pytest.fixture(scope="module")
def viewer(report: Path, others: dict[str, Path]) -> Iterator[Viewer]:  # noqa: ARG001 - made before the browser starts
    """One browser for all."""
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_asked_for_logged_or_out_of_sight(viewer: Viewer, report: Path, width: int, scheme: str) -> None:
    """On a phone, a tablet and a desk, light and dark: the file alone is read, the console is silent, all fits."""
    with viewer.open(report, width=width, scheme=scheme) as seen:
        for details in seen.page.locator("summary").all():
            details.click()
        assert seen.page.evaluate(_OUTSIDE) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        drawn = seen.page.locator("[data-chart]")
        assert drawn.locator("svg").count() == drawn.count() == 6
    assert seen.logged == []
    assert seen.requested == [report.as_uri()]


def test_what_is_missing_is_no_fault(viewer: Viewer, others: dict[str, Path]) -> None:
    """Without bills, with one day, of a month that is over: all the same the console is silent and all fits."""
    for name, path in others.items():
        with viewer.open(path, width=375) as seen:
            assert (name, seen.logged, seen.page.evaluate(_OUTSIDE)) == (name, [], [])


def test_names_are_text(viewer: Viewer, report: Path) -> None:
    """A name that ends a script, is an element, an expression or a format is shown as it is written; nothing runs."""
    with viewer.open(report) as seen:
        legend = seen.page.locator('[data-legend="project"]').inner_text()
        for name in TRICKS[:7]:
            assert name in legend
        assert "\\u202egnp.exe\\x1b[31m" in legend, "what steers is shown as its escape"
        assert seen.page.locator("script").count() == 3
        assert seen.page.locator("main img, main svg[onload], main a[href^='http']").count() == 0
    assert seen.logged == []


def test_a_planted_script_may_not_run(viewer: Viewer, report: Path) -> None:
    """Were markup to get in all the same, the page's own policy would stop it, and text made into code."""
    planted_script = """
    () => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'planted'";
      document.body.append(script);
      const image = "<img src=x onerror=\\"document.title='planted'\\">";
      document.querySelector("main").insertAdjacentHTML("beforeend", image);
      try { return new Function("return 'planted'")(); } catch (refused) { return refused.name; }
    }
    """
    with viewer.open(report) as seen:
        # playwright's own evaluation is let through the policy; what a page does later is not
        seen.page.evaluate(f"() => setTimeout({planted_script})")
        seen.page.wait_for_timeout(100)
        assert seen.page.title().startswith("Usage and cost")
    assert any("Content Security Policy" in line for line in seen.logged)


def test_the_legend_hides_and_shows(viewer: Viewer, report: Path) -> None:
    """A press, or the space bar, hides a series and shows it again; the last button does so with all."""
    with viewer.open(report) as seen:
        page = seen.page
        legend = page.locator('[data-legend="project"]')
        first = legend.locator("[data-series]").first

        def bars(count: int) -> None:
            page.wait_for_function(f"({_DRAWN}) === {count}")

        bars(19 * 9)  # closed days, by eight projects and the others
        first.click()
        bars(19 * 8)
        assert first.get_attribute("aria-pressed") == "false"
        first.focus()
        page.keyboard.press("Space")
        bars(19 * 9)
        legend.get_by_text("Hide all").click()
        bars(0)
        assert page.locator('[data-chart="model"] .mark-rect path').count() == 19 * 5, "other charts are as they were"
        legend.get_by_text("Show all").click()
        bars(19 * 9)
        page.locator('[data-legend="activity"] [data-all]').click()
        page.wait_for_function("document.querySelectorAll('[data-chart=activity] .mark-line path').length === 0")
    assert seen.logged == []


def test_pointing_tells_the_day_in_utc(viewer: Viewer, report: Path) -> None:
    """What is said of a bar is its day wherever the reader is, its name as text, and its amount."""
    with viewer.open(report) as seen:
        seen.page.locator(_BARS).last.hover()
        said = seen.page.locator("#tip")
        said.wait_for(state="visible")
        day, name, amount = said.locator("div").all_inner_texts()
        assert day == "Thu, 19 Nov 2026"
        names = seen.page.locator('[data-legend="project"] bdi').all_inner_texts()
        assert name in names
        assert amount.endswith(" EUR")
        labels = seen.page.locator('[data-chart="project"] .mark-text text').all_text_contents()
        assert "1 Nov" in labels
    assert seen.logged == []


@pytest.mark.parametrize("width", [375, 1280])
def test_a_day_is_named_below_the_middle_of_its_bar(viewer: Viewer, report: Path, width: int) -> None:
    """Names of days stand centred below their bars, apart from each other and inside the chart."""
    with viewer.open(report, width=width) as seen:
        for chart in ("project", "coverage"):
            bars, names, right = seen.page.evaluate(_PLACES, chart)
            assert len(names) > 1
            assert [before[2] < after[1] - 4 for before, after in pairwise(names)].count(False) == 0, "apart"
            for day, left, end in names:
                assert abs((left + end) / 2 - bars[int(day.split()[0]) - 1]) < 2, (chart, day)
                assert end <= right, (chart, day)
    assert seen.logged == []


def test_a_year_of_days_can_be_told_apart(viewer: Viewer, others: dict[str, Path]) -> None:
    """Where a day is a pixel or two wide, no line between days takes the colour away that says what is known of it."""
    with viewer.open(others["a year"], width=375) as seen:
        cells = seen.page.locator('[data-chart="coverage"] .mark-rect path')
        assert cells.count() > 300
        assert cells.first.evaluate("cell => getComputedStyle(cell).strokeWidth") == "0px"
        names = seen.page.evaluate(_PLACES, "coverage")[1]
        assert [before[2] < after[1] - 4 for before, after in pairwise(names)].count(False) == 0, "apart"


def test_light_and_dark_can_be_chosen(viewer: Viewer, report: Path) -> None:
    """It begins as the system has it, and a press turns it, charts included."""
    ground = "getComputedStyle(document.body).backgroundColor"
    with viewer.open(report, scheme="dark") as seen:
        dark = seen.page.evaluate(ground)
        seen.page.locator("#theme").click()
        light = seen.page.evaluate(ground)
        assert (dark, light) == ("rgb(18, 21, 26)", "rgb(246, 247, 249)")
        assert seen.page.evaluate(f"getComputedStyle(document.querySelector('{_BARS}')).fill") == "rgb(66, 105, 208)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(viewer: Viewer, report: Path, scheme: str) -> None:
    """Text and its colours have the contrast people with weak eyes need (WCAG AA: 4.5), light and dark."""
    names = ["text", "soft", "accent", "good", "watch", "bad", "mark"]
    painted = """
    (names) => names.map((name) => {
      const probe = document.querySelector("main").appendChild(document.createElement("i"));
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color.match(/[0-9]+/g).map(Number);
    })
    """
    with viewer.open(report, scheme=scheme) as seen:
        grounds = seen.page.evaluate(painted, ["card", "page"])
        inks = seen.page.evaluate(painted, names)
    for name, ink in zip(names, inks, strict=True):
        for ground in grounds:
            light, dark = sorted((_luminance(ink), _luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{name} on {ground}, {scheme}"


def _luminance(colour: list[int]) -> float:
    """How bright a colour is, by WCAG's formula."""
    parts = [value / 255 for value in colour]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_all_can_be_reached_with_the_keyboard_and_heard(viewer: Viewer, report: Path) -> None:
    """The first tab skips to the figures; each chart says what it is and has its table; each button has a name."""
    with viewer.open(report, width=768) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
        for chart in page.locator(".chart").all():
            assert chart.get_attribute("role") == "img"
            assert len(chart.get_attribute("aria-label") or "") > 20
            section = chart.locator("xpath=ancestor::section")
            assert section.locator("table").count() > 0
        for table in page.locator("table").all():
            assert table.locator("thead th[scope=col]").count() > 0
        assert all(button.inner_text().strip() for button in page.locator("button").all())
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_it_prints_light_and_whole(viewer: Viewer, report: Path) -> None:
    """In print the page is white though the screen is dark, buttons that do nothing are gone, and charts fit."""
    with viewer.open(report, scheme="dark") as seen:
        seen.page.emulate_media(media="print")
        seen.page.set_viewport_size({"width": 700, "height": 1000})
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not seen.page.locator("#theme").is_visible()
        more = (
            "<details class='counted'><summary>80 more</summary></details><details><summary>Table</summary></details>"
        )
        seen.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", more)
        assert seen.page.locator("text=80 more").is_visible()  # how many are not on paper
        assert not seen.page.locator("summary:text-is('Table')").is_visible()
        assert seen.page.evaluate(_OUTSIDE) == []
        assert len(seen.page.pdf()) > 20_000


def test_without_scripts_the_numbers_are_there(viewer: Viewer, report: Path) -> None:
    """A viewer that runs no script, as mail programs do, shows the figures and the tables, and says why no charts."""
    with viewer.open(report, width=375, java_script_enabled=False) as seen:
        assert "need JavaScript" in seen.page.locator("noscript").inner_text()
        assert "EUR" in seen.page.locator("#figure-month").inner_text()
        assert seen.page.locator("table").count() > 5
