"""The report's charts as Vega-Lite specifications: the door to Altair.

Put shapes and scales here. A chart holds numbers, days and ids of ours and no text of upstream, so that nothing in it
can be read as an expression, a format or a link; names are put beside it by the page. Colours are CSS variables of
the page, which has them for light, dark and print. Days are UTC whatever the reader's zone.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, get_args

import altair as alt

from usage_pipeline.report.quality import State
from usage_pipeline.report.stacks import MOST_SERIES, OTHER, Stack

HIDDEN = "hidden"  # the parameter that holds the ids of series not shown
_ROW = 18
_FONT = "system-ui, sans-serif"  # measured to leave room for labels, so it must be the page's own
_WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_SPACED_DAYS = 100  # bars of more would be thinner than the space between them
_BETWEEN_ROWS = 0.06  # of a row
_APART = 6  # pixels at least between two of them
_END_LABEL = 14  # pixels for half of the name of the last day, which its bar may be too thin for
_LABELS = 8  # about as many days are named below a chart
HEAT_STEPS = 6

Spec = dict[str, Any]


def money_labels(currency: str) -> str:
    """How an axis writes amounts, as an expression: thousands and more are short; dollars have their sign."""
    sign = "$" if currency == "usd" else ""
    short = f"replace(format(datum.value, '{sign}~s'), 'G', 'B')"
    return f"abs(datum.value) >= 1000 ? {short} : format(datum.value, '{sign},~f')"


def daily_stack(cut: Stack, palette: str, marked: Sequence[date], labels: str) -> Spec:
    """Cost per day, a bar a day, a colour a series; a mark above the days with an anomaly."""
    places = {one.id: place for place, one in enumerate(cut.series)}
    data = [
        {"d": day.isoformat(), "s": series, "o": places[series], "v": float(v)}
        for (day, series), v in cut.amounts.items()
    ]
    ids = [*(f"s{place}" for place in range(MOST_SERIES)), OTHER]
    colours = alt.Scale(domain=ids, range=[f"var(--{palette}-{one})" for one in ids])
    hidden = alt.param(name=HIDDEN, value=[])
    bars = (
        alt.Chart(_data(data))
        .mark_bar(binSpacing=1 if len(cut.days) <= _SPACED_DAYS else 0)
        .encode(
            x=_day_axis(list(cut.days)),
            y=alt.Y("shown:Q", stack="zero", title=None, axis=_money_axis(labels)),
            color=alt.Color("s:N", scale=colours, legend=None),
            order=alt.Order("o:Q"),
            tooltip=alt.Tooltip("s:N"),
        )
        # nothing rather than no bar: a chart without any has no scale
        .transform_calculate(shown=f"indexof({HIDDEN}, datum.s) < 0 ? datum.v : 0")
    )
    if not marked:
        return _spec(bars.add_params(hidden), height=260)
    marks = (
        alt.Chart(_data([{"d": day.isoformat(), "a": 1} for day in marked]))
        .mark_point(shape="triangle-down", filled=True, size=70, opacity=1, color="var(--mark)")
        .encode(x=_day_axis(list(cut.days)).bandPosition(0.5), y=alt.value(4), tooltip=alt.Tooltip("a:Q"))
    )
    return _spec((bars + marks).add_params(hidden), height=260)


def burn_down(
    path: Sequence[tuple[date, Decimal]],
    coming: Sequence[tuple[date, Decimal, Decimal, Decimal]],
    labels: str,
    *,
    is_left: bool,
) -> Spec:
    """What is left of the budget (or else what is spent) after each day, and the forecast with its range."""
    past = [{"d": day.isoformat(), "v": float(v)} for day, v in path]
    future = [{"d": day.isoformat(), "v": float(v), "lo": float(a), "hi": float(b)} for day, v, a, b in coming]
    x = alt.X("d:T", title=None, scale=alt.Scale(type="utc"), axis=_day_labels())
    y = alt.Y("v:Q", title=None, axis=_money_axis(labels), scale=alt.Scale(zero=True))
    drawn = alt.layer(alt.Chart(_data(past)).mark_line(color="var(--accent)", strokeWidth=2.5).encode(x=x, y=y))
    if future:
        drawn += (
            alt.Chart(_data(future)).mark_area(opacity=0.25, color="var(--accent)").encode(x=x, y="lo:Q", y2="hi:Q")
        )
        drawn += alt.Chart(_data(future)).mark_line(strokeDash=[5, 4], color="var(--accent)").encode(x=x, y=y)
    if is_left:
        drawn += alt.Chart(_data([{"v": 0}])).mark_rule(color="var(--mark)", strokeWidth=1.5).encode(y=y)
    drawn += alt.Chart(_data([*past, *future[1:]])).mark_point(size=220, opacity=0).encode(x=x, y=y, tooltip="v:Q")
    return _spec(drawn, height=240)


def indexed(lines: Mapping[str, Sequence[tuple[date, float]]], palette: str) -> Spec:
    """Several measures of a day in one scale: 100 is what a measure was on an average day."""
    data = [{"d": day.isoformat(), "s": series, "v": v} for series, points in lines.items() for day, v in points]
    days = [day for points in lines.values() for day, _ in points]
    most = max((v for points in lines.values() for _, v in points), default=0.0) or 1.0
    colours = alt.Scale(domain=list(lines), range=[f"var(--{palette}-{one})" for one in lines])
    hidden = alt.param(name=HIDDEN, value=[])
    drawn = (
        alt.Chart(_data(data))
        .encode(
            x=alt.X("d:T", title=None, scale=_day_scale(days[0], days[-1]), axis=_day_labels()),
            y=alt.Y("v:Q", title=None, axis=alt.Axis(tickCount=4), scale=alt.Scale(domain=[0, most])),
            color=alt.Color("s:N", scale=colours, legend=None),
            tooltip=alt.Tooltip("v:Q"),
        )
        .transform_filter(f"indexof({HIDDEN}, datum.s) < 0")
    )
    return _spec(
        (drawn.mark_line(strokeWidth=2) + drawn.mark_point(size=120, opacity=0)).add_params(hidden), height=200
    )


def heat_map(cells: Sequence[tuple[int, int, int, float]]) -> Spec:
    """Weekday (Monday is 1) by hour: a shade for the mean number of requests."""
    data = [{"w": _WEEKDAYS[day - 1], "h": hour, "l": shade, "v": v} for day, hour, shade, v in cells]
    shades = alt.Scale(domain=list(range(HEAT_STEPS)), range=[f"var(--heat-{step})" for step in range(HEAT_STEPS)])
    drawn = (
        alt.Chart(_data(data))
        .mark_rect(stroke="var(--card)", strokeWidth=1)
        .encode(
            x=alt.X("h:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, values=list(range(0, 24, 3)))),
            y=alt.Y("w:O", title=None, sort=_WEEKDAYS),
            color=alt.Color("l:O", scale=shades, legend=None),
            tooltip=alt.Tooltip("v:Q"),
        )
    )
    return _spec(drawn, height=7 * 24)


def coverage(cells: Sequence[tuple[str, date, State]], names: Sequence[str]) -> Spec:
    """A cell for each endpoint and day: what is known of it."""
    data = [{"e": endpoint, "d": day.isoformat(), "s": state} for endpoint, day, state in cells]
    colours = alt.Scale(domain=list(get_args(State)), range=[f"var(--day-{state})" for state in get_args(State)])
    days = sorted({day for _, day, _ in cells})
    drawn = (
        alt.Chart(_data(data))
        # of many days the lines between them would cover the cells: only the rows stand apart
        .mark_rect(stroke="var(--card)", strokeWidth=0.5 if len(days) <= _SPACED_DAYS else 0)
        .encode(
            x=_day_axis(days),
            y=alt.Y(
                "e:O",
                title=None,
                sort=list(names),
                axis=alt.Axis(labelLimit=150),
                scale=alt.Scale(paddingInner=_BETWEEN_ROWS),
            ),
            color=alt.Color("s:N", scale=colours, legend=None),
            tooltip=alt.Tooltip("s:N"),
        )
    )
    return _spec(drawn, height=len(names) * _ROW)


def _data(values: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=values)


def _day_axis(days: Sequence[date]) -> alt.X:
    """Days as bands; all of them, whatever is hidden."""
    scale = _day_scale(days[0], days[-1] + timedelta(days=1))
    return alt.X("d:T", timeUnit="utcyearmonthdate", title=None, axis=_band_labels(days), scale=scale)


def _day_scale(first: date, last: date) -> alt.Scale:
    ends = [alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in (first, last)]
    return alt.Scale(type="utc", domain=ends)


def _band_labels(days: Sequence[date]) -> alt.Axis:
    """Every so many days, below the middle of their bands; of many days, whose bands are thin, as below lines."""
    if len(days) > _SPACED_DAYS:
        return _day_labels()
    middle = alt.ExprRef(f"width / {len(days)} / 2")
    step = -(-len(days) // _LABELS)
    named = [alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in days[::step]]
    return alt.Axis(
        format="%-d %b", labelOverlap="greedy", labelSeparation=_APART, grid=False, labelAngle=0, values=named,
        labelFlush=False, tickOffset=middle,
    )  # fmt: skip


def _day_labels() -> alt.Axis:
    return alt.Axis(
        format="%-d %b", labelOverlap="greedy", labelSeparation=_APART, labelFlush=True, grid=False,
        tickCount=_LABELS, labelAngle=0,
    )  # fmt: skip


def _money_axis(labels: str) -> alt.Axis:
    return alt.Axis(labelExpr=labels, tickCount=5)


def _spec(chart: alt.Chart | alt.LayerChart, *, height: int) -> Spec:
    """As wide as where it stands; without the words Vega would read out: the table beside each chart is for that."""
    sized = chart.properties(width="container", height=height, background="transparent").configure(
        font=_FONT,
        aria=False,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 2, "right": _END_LABEL, "bottom": 2},
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor="var(--soft)",
            gridColor="var(--line)",
            domainColor="var(--line)",
            tickColor="var(--line)",
            labelFontSize=11,
            domain=False,
        ),
    )
    spec: Spec = sized.to_dict()
    return spec
