"""Why the bill changed from one window to another: read from the published file, split exactly, told in sentences.

Put the questions to the warehouse and the wording here; what the effects are is marts/change.py's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.query import ask
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.change import EFFECTS, Cell, Change, per_day, split, total
from usage_pipeline.marts.labels import labelled, last_names
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, parse_day

# --by -> the column that holds the item
ITEMS = {"project": "project_id", "model": "model", "api_key": "api_key_id", "user": "user_id"}
_MONTH = re.compile(r"\d{4}-\d{2}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_CELLS = """
with billed as (
    -- A day may be in both windows.
    select false as is_second, * from marts.cost_drivers_daily where date >= $first_first and date < $first_end
    union all
    select true, * from marts.cost_drivers_daily where date >= $second_first and date < $second_end
),
cells as (
    select {item} as item, model, line_item, unit, is_second, sum(amount) as amount,
        case when bool_and(quantity is not null or amount = 0) then coalesce(sum(quantity), 0) end as quantity
    from billed
    where organization = $organization and currency = $currency
    group by all
)
select item, coalesce(line_item, '(no line item)') as thing, unit,
    coalesce(sum(amount) filter (not is_second), 0), coalesce(sum(amount) filter (is_second), 0),
    case when count(*) filter (not is_second) = 0 then 0 else any_value(quantity) filter (not is_second) end,
    case when count(*) filter (is_second) = 0 then 0 else any_value(quantity) filter (is_second) end
from cells group by item, model, line_item, unit
"""
_CURRENCIES = "select distinct currency from marts.cost_drivers_daily where organization = $organization order by 1"
_KNOWN = (
    "select date, sum(rows) > 0 from meta.coverage "
    "where organization = $organization and endpoint in (select unnest($e)) group by date"
)
_CLOSED = "select max(as_of) from marts.budget_status where organization = $organization"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The total and every item, largest change first."""

    total: Change
    items: list[Change]


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The change between two windows, in total and of an average known day, and what is not known of them."""

    by: str
    sync_command: str
    currency: str
    other_currencies: tuple[str, ...]
    windows: tuple[Window, Window]
    known_days: tuple[int, int]
    missing: tuple[tuple[date, ...], tuple[date, ...]]
    empty: tuple[date, ...]
    still_open: tuple[date, ...]
    in_total: Comparison
    a_day: Comparison
    names: dict[str, str]
    things: dict[str | None, list[tuple[str, str | None, Decimal]]]

    @property
    def is_per_day(self) -> bool:
        """Whether the windows hold different numbers of known days, so that their days are compared."""
        return self.known_days[0] != self.known_days[1]

    @property
    def told(self) -> Comparison:
        """What the sentences tell."""
        return self.a_day if self.is_per_day else self.in_total


def parse_window(text: str, option: str) -> Window:
    """`2026-10-01..2026-11-01` (the end day is not part of it), or a month `2026-10`, or a day `2026-10-01`.

    Raises:
        FixConfig: it is none of these.
    """
    first, dots, end = text.partition("..")
    if dots:
        return Window.of_days(parse_day(first), parse_day(end))
    if _MONTH.fullmatch(text):
        start = parse_day(f"{text}-01")
        return Window.of_days(start, (start + timedelta(days=31)).replace(day=1))
    if not _DAY.fullmatch(text):
        raise FixConfig(f"{option} {text!r}: write 2026-10-01..2026-11-01, a month 2026-10 or a day 2026-10-01.")
    return Window.of_days(parse_day(text), parse_day(text) + timedelta(days=1))


def explain(settings: Settings, first: Window, second: Window, *, by: str, currency: str) -> Explanation:
    """Compare the windows.

    Raises:
        FixConfig: an argument is wrong, or nothing is known of one of the windows.
    """
    if by not in ITEMS:
        raise FixConfig(f"--by {by!r}: choose {', '.join(ITEMS)}.")
    money = [name for name, endpoint in ENDPOINTS.items() if endpoint.is_money]
    known: dict[date, bool] = dict(_ask(settings, _KNOWN, e=money))
    missing = tuple(tuple(day for day in window.dates() if day not in known) for window in (first, second))
    days = tuple(len(window.dates()) - len(gone) for window, gone in zip((first, second), missing, strict=True))
    for window, count in zip((first, second), days, strict=True):
        if not count:
            way_out = _sync(settings.command("sync"), window).removesuffix(".")
            raise FixConfig(f"no cost is known of {window}: {way_out}, where the service has bills of these days.")
    currencies = [code for (code,) in _ask(settings, _CURRENCIES) if code]
    if currencies and currency not in currencies:
        raise FixConfig(f"nothing was billed in {currency!r}: --currency {' or '.join(currencies)}.")
    ((closed,),) = _ask(settings, _CLOSED)
    bounds = {
        "first_first": first.start.date(),
        "first_end": first.end.date(),
        "second_first": second.start.date(),
        "second_end": second.end.date(),
    }
    rows = _ask(settings, _CELLS.format(item=f'"{ITEMS[by]}"'), currency=currency, **bounds)
    cells = [
        Cell(item=item, thing=thing, unit=unit, amounts=(before, after), quantities=(some, more))
        for item, thing, unit, before, after, some, more in rows
    ]
    everyday = per_day(cells, (days[0], days[1]))
    in_total, a_day = split(cells), split(everyday)
    return Explanation(
        by=by,
        sync_command=settings.command("sync"),
        currency=currency,
        other_currencies=tuple(code for code in currencies if code != currency),
        windows=(first, second),
        known_days=(days[0], days[1]),
        missing=(missing[0], missing[1]),
        empty=tuple(dict.fromkeys(d for w in (first, second) for d in w.dates() if known.get(d) is False)),
        still_open=tuple(d for w in (first, second) for d in w.dates() if d in known and (not closed or d > closed)),
        in_total=Comparison(total=total(in_total), items=in_total),
        a_day=Comparison(total=total(a_day), items=a_day),
        names=last_names(Lake.of(settings), settings.organization, by),
        things=_things(cells if days[0] == days[1] else everyday),
    )


def _ask(settings: Settings, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    values = {"organization": settings.organization, **parameters}
    with ask(settings.warehouse_path, settings.lake_dir, statement, values) as answer:
        return list(answer.rows)


def _things(cells: Sequence[Cell]) -> dict[str | None, list[tuple[str, str | None, Decimal]]]:
    """What changed most within each item: line item, unit and change."""
    found: dict[str | None, dict[tuple[str, str | None], Decimal]] = {}
    for cell in cells:
        held = found.setdefault(cell.item, {})
        key = (cell.thing, cell.unit)
        held[key] = held.get(key, Decimal(0)) + cell.amounts[1] - cell.amounts[0]
    return {
        item: [(*key, change) for key, change in sorted(held.items(), key=lambda pair: -abs(pair[1]))]
        for item, held in found.items()
    }


def label(found: Explanation, item: str | None) -> str:
    """An item as people know it."""
    return labelled(item, found.by, found.names)


def sentences(found: Explanation) -> list[str]:
    """The whole change, then each item's, largest first; what is below a cent is counted."""
    told = found.told
    shown = [one for one in told.items if _shows(one.change)]
    lines = [f"In all: {_sentence(found, told.total, None)}"]
    lines += [f"{label(found, one.item)}: {_sentence(found, one, one.item)}" for one in shown]
    if len(shown) < len(told.items):
        lines.append(f"{len(told.items) - len(shown)} more changed by less than a cent.")
    return lines


def caveats(found: Explanation) -> list[str]:
    """What the reader should know before trusting the numbers."""
    lines = []
    for window, missing in zip(found.windows, found.missing, strict=True):
        if missing:
            lines.append(
                f"{len(missing)} of the {len(window.dates())} days of {window} are not known "
                f"({', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}): "
                f"{_sync(found.sync_command, window)}"
            )
    if found.empty:
        lines.append(f"{', '.join(map(str, found.empty))}: the bill of these days is empty.")
    if found.still_open:
        lines.append(f"{', '.join(map(str, found.still_open))}: the bill of these days may still grow.")
    if found.is_per_day:
        lines.append(
            f"The windows hold {found.known_days[0]} and {found.known_days[1]} known days: the sentences compare an "
            "average day; the totals are beside them."
        )
    if found.other_currencies:
        others = ", ".join(found.other_currencies)
        lines.append(f"Other currencies are billed too, and never added: --currency {others}")
    return lines


def _sync(command: str, window: Window) -> str:
    return f"run `{command} --since {window.start.date()} --until {window.end.date()} --endpoint costs`."


def _sentence(found: Explanation, one: Change, item: str | None) -> str:
    daily = " a day" if found.is_per_day else ""
    said = [
        f"{_words(name, one.effects[name], found, one)} ({money(one.effects[name], found.currency)})"
        for name in sorted(EFFECTS, key=lambda name: -abs(one.effects[name]))
        if _shows(one.effects[name])
    ]
    text = (
        f"{money(one.change, found.currency)}{daily} (from {money(one.before, found.currency, sign=False)} "
        f"to {money(one.after, found.currency, sign=False)})"
    )
    if said:
        text += ", because of " + " and ".join(filter(None, [", ".join(said[:-1]), said[-1]]))
    top = found.things.get(item, [])[:1] if one is not found.told.total else []
    for thing, _, change in top:
        if _shows(change):
            text += f"; most in {thing} ({money(change, found.currency)})"
    return text + "."


def _shows(amount: Decimal) -> bool:
    """Whether something is left of it to the cent."""
    return round(amount, 2) != 0


def _words(effect: str, amount: Decimal, found: Explanation, one: Change) -> str:
    more = amount > 0
    what = f"{found.by.replace('_', ' ')}s with " if one is found.told.total else ""
    if effect == "new":
        return f"{what}no cost before"
    if effect == "gone":
        return f"{what}no cost any more"
    if effect == "credits":
        return f"{'smaller' if more else 'larger'} credits"
    if effect == "volume":
        unit, *others = {unit for _, unit, _ in found.things.get(one.item, [])} or {None}
        if unit is None or others or one is found.told.total:
            return f"{'more' if more else 'less'} usage"
        return f"{'more' if more else 'fewer'} {unit.removeprefix('duration_').replace('_', ' ')}"
    if effect == "mix":
        return f"a {'dearer' if more else 'cheaper'} mix"
    if effect == "price":
        return f"{'higher' if more else 'lower'} prices"
    return f"{'more' if more else 'less'} billed without a quantity"


def money(amount: Decimal, currency: str, *, sign: bool = True) -> str:
    """An amount to the cent, with its sign and currency."""
    mark = "-" if amount < 0 else "+" if sign else ""
    digits = f"{abs(amount):,.2f}"
    return f"{mark}${digits}" if currency == "usd" else f"{mark}{digits} {currency.upper()}"
