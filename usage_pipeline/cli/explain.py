"""The `explain` command."""

from typing import Any

from usage_pipeline.cli.console import money_text, out, print_json, say, text
from usage_pipeline.cli.tables import print_table
from usage_pipeline.explain import Comparison, Explanation, caveats, explain, parse_window, sentences
from usage_pipeline.explain import label as item_label
from usage_pipeline.guard import resident
from usage_pipeline.marts.change import EFFECTS, Change
from usage_pipeline.organizations import Organizations

_SHOWN = 12  # rows of the table; the sentences and the JSON have all


def run_explain(*, first: str, second: str, by: str, currency: str, label: str | None, as_json: bool) -> None:
    """Print why the cost of the second window differs from the first's."""
    windows = parse_window(first, "--from"), parse_window(second, "--to")
    settings = resident(Organizations.from_env().one(label))
    found = explain(settings, *windows, by=by, currency=currency.lower())
    if as_json:
        print_json(_as_dict(found))
    else:
        _print(found)
    for line in caveats(found):
        say(f"note: {line}")


def _print(found: Explanation) -> None:
    first, second = (f"{window} ({len(window.dates())} days)" for window in found.windows)
    out().print(f"Cost of {second} against {first}, {found.currency.upper()}; the end day is not part of a window.\n")
    _table(found, found.in_total, "In total")
    if found.is_per_day:
        _table(found, found.a_day, "Of an average known day")
    out().print()
    for line in sentences(found):
        out().print(text(line), markup=False)


def _table(found: Explanation, compared: Comparison, title: str) -> None:
    rows = [_cells(item_label(found, one.item), one) for one in compared.items[:_SHOWN]]
    rows.append(_cells("all", compared.total))
    columns = ["before", "after", "change", *EFFECTS]
    used = [name for name in columns if name not in EFFECTS or compared.total.effects[name] or _any(compared, name)]
    positions = [0, *(columns.index(name) + 1 for name in used)]
    print_table(title, [found.by, *used], [[row[at] for at in positions] for row in rows], right=used)


def _any(compared: Comparison, effect: str) -> bool:
    return any(one.effects[effect] for one in compared.items)


def _cells(name: str, one: Change) -> list[str]:
    amounts = (one.before, one.after, one.change, *(one.effects[effect] for effect in EFFECTS))
    shown = [money_text(amount) for amount in amounts]
    return [name, *("0.00" if amount == "-0.00" else amount for amount in shown)]


def _as_dict(found: Explanation) -> dict[str, Any]:
    return {
        "by": found.by,
        "currency": found.currency,
        "other_currencies": list(found.other_currencies),
        "from": _window_dict(found, 0),
        "to": _window_dict(found, 1),
        "days_that_may_still_grow": list(map(str, found.still_open)),
        "in_total": _comparison_dict(found, found.in_total),
        "per_day": _comparison_dict(found, found.a_day),
        "sentences": sentences(found),
    }


def _window_dict(found: Explanation, which: int) -> dict[str, Any]:
    window = found.windows[which]
    return {
        "first_day": str(window.start.date()),
        "end_day": str(window.end.date()),
        "days": len(window.dates()),
        "known_days": found.known_days[which],
        "missing": list(map(str, found.missing[which])),
    }


def _comparison_dict(found: Explanation, compared: Comparison) -> dict[str, Any]:
    return {
        **_change_dict(compared.total),
        "items": [
            {"item": one.item, "name": found.names.get(one.item or ""), **_change_dict(one)} for one in compared.items
        ],
    }


def _change_dict(one: Change) -> dict[str, Any]:
    return {"before": one.before, "after": one.after, "change": one.change, "effects": one.effects}
