"""The report as one file: facts read, told, drawn and written whole or not at all.

Put what must happen together for a report here; what its parts say is the modules' beside this one.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, get_args

from usage_pipeline import exports
from usage_pipeline.lake.disk import replacing
from usage_pipeline.lake.links import refuse_linked_path
from usage_pipeline.report import charts, words
from usage_pipeline.report.activity import MEASURES, Activity, activity
from usage_pipeline.report.changes import anomalies, movers, notes
from usage_pipeline.report.facts import Facts, read_facts
from usage_pipeline.report.figures import Figure, Trust, headline, trust
from usage_pipeline.report.month import BurnDown, budget_lines, burn_down
from usage_pipeline.report.page import render
from usage_pipeline.report.quality import Quality, State, quality
from usage_pipeline.report.shares import keys, model_name, models, project_name, teams, users
from usage_pipeline.report.stacks import Stack, stack
from usage_pipeline.settings import Settings

_NO_LETTER = re.compile(r"[^a-z0-9]+")  # a currency is the service's text, and no path
_DIGITS = 80  # amounts have 38 of them; sums of a year's must lose none


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was written: the file, its size in bytes, its days and its headline."""

    path: Path
    bytes: int
    first_day: str
    last_day: str
    figures: list[Figure]
    trust: list[Trust]


def write_report(
    settings: Settings,
    *,
    now: datetime,
    month: str | None = None,
    last: int | None = None,
    currency: str | None = None,
    output: Path | None = None,
) -> Report:
    """Write the report of a month or of the last days; by default of the last 30, into the data folder's exports.

    Raises:
        FixConfig: an argument is wrong, or nothing is published yet.
        LakeDamaged: the published file or one of the lake's is gone.
        LakeUnwritable: the file cannot be written; a file that was there is unchanged.
    """
    with localcontext(prec=_DIGITS):
        facts = read_facts(settings, month=month, last=last, currency=currency, now=now)
        page, figures, lines = _page(facts)
    path = output or exports.folder_of(settings, settings.organization) / _name(month, last, currency)
    if output is None:
        refuse_linked_path(settings.data_dir, path)
        path.parent.mkdir(parents=True, exist_ok=True)
    text = page.encode()
    with replacing(path) as temporary:
        temporary.write_bytes(text)
    return Report(
        path=path,
        bytes=len(text),
        first_day=facts.period.first.isoformat(),
        last_day=facts.period.last.isoformat(),
        figures=figures,
        trust=lines,
    )


def _name(month: str | None, last: int | None, currency: str | None) -> str:
    """`report.html`, `report-2026-10.html`, `report-last-90-eur.html`: what was asked for, kept apart."""
    code = None if currency is None else _NO_LETTER.sub("_", currency)
    asked = [month, f"last-{last}" if last is not None else None, code]
    return "-".join(["report", *(part for part in asked if part is not None)]) + ".html"


def _page(facts: Facts) -> tuple[str, list[Figure], list[Trust]]:
    days = facts.period.days
    by_project = stack(
        ((day, (project,), amount) for day, project, amount in facts.by_project),
        days,
        lambda key: project_name(facts, key[0]),
    )
    by_model = stack(
        ((day, (model, kind), amount) for day, model, kind, amount in facts.by_model),
        days,
        lambda key: (model_name(*key), False),
    )
    figures, lines = headline(facts, by_project.total), trust(facts)
    burn, used, known = burn_down(facts), activity(facts, by_project), quality(facts)
    view = {
        "facts": facts,
        "title": f"Usage and cost, {words.days(facts.period.first, facts.period.last)}",
        "span": words.days(facts.period.first, facts.period.last),
        "organization": words.shown(facts.organization),
        "others": [(words.shown(code), words.money(amount, code)) for code, amount in facts.other_currencies],
        "figures": figures,
        "trust": lines,
        "stacks": {"project": by_project, "model": by_model} if facts.by_project else {},
        "burn": burn,
        "budgets": budget_lines(facts),
        "movers": movers(facts),
        "notes": notes(facts),
        "spenders": {"user": users(facts), "key": keys(facts), "team": teams(facts)} if facts.by_project else {},
        "models": models(facts),
        "anomalies": anomalies(facts),
        "activity": used,
        "entries": {
            "project": [(one.id, one.name, one.is_deleted, one.total) for one in by_project.series],
            "model": [(one.id, one.name, False, one.total) for one in by_model.series],
            "activity": [(name, label, False, None) for name, label in MEASURES.items()],
        },
        "quality": known,
        "states": get_args(State),
    }
    drawn = _charts(facts, by_project, by_model, burn, used, known)
    return render(view, currency=facts.currency, charts=drawn), figures, lines


def _charts(
    facts: Facts, by_project: Stack, by_model: Stack, burn: BurnDown | None, used: Activity, known: Quality
) -> dict[str, dict[str, Any]]:
    """Each chart that has something to show: its specification, the names beside it, and its unit."""
    money = words.money(Decimal(0), facts.currency).split("0.00")
    labels = charts.money_labels(facts.currency)
    found: dict[str, dict[str, Any]] = {}
    if facts.by_project:
        for palette, cut, kinds in (("project", by_project, {"total", "project"}), ("model", by_model, {"model"})):
            marked = sorted({day for day, dimension, *_ in facts.anomalies if dimension in kinds})
            names = {one.id: one.name for one in cut.series}
            found[palette] = {"spec": charts.daily_stack(cut, palette, marked, labels), "names": names, "unit": money}
    if burn is not None:
        found["burn"] = {
            "spec": charts.burn_down(burn.past, burn.ahead, labels, is_left=burn.has_budget),
            "names": {},
            "unit": money,
        }
    if used.lines:
        spec = charts.indexed(used.lines, "measure")
        found["activity"] = {"spec": spec, "names": MEASURES, "unit": ["", " % of its average day"]}
    if used.hours:
        found["hours"] = {"spec": charts.heat_map(used.hours), "names": {}, "unit": ["", " requests on average"]}
    if facts.coverage:
        names = {state: state for state in get_args(State)}
        spec = charts.coverage(known.cells, [one.endpoint for one in known.endpoints])
        found["coverage"] = {"spec": spec, "names": names, "unit": ["", ""]}
    return found
