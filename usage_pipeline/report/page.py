"""The page: the template filled in, its scripts and styles inside it, and the policy that allows nothing else.

Put the door to Jinja2 here. Every value is escaped as it is put in; the few trusted texts are named `safe` in the
template: the libraries, our own script and our own styles.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from typing import Any

import jinja2

from usage_pipeline.report import words
from usage_pipeline.report.bundle import vega_script

_FOLDER = files("usage_pipeline.report")


def render(view: Mapping[str, Any], *, currency: str, charts: Mapping[str, Any]) -> str:
    """The whole file; `charts` by id: specification, names of series and units."""
    style, script, libraries = _text("page.css"), _text("page.js"), vega_script()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        money=lambda amount: words.money(amount, currency),
        exact=words.exact,
        number=words.number,
        day=words.day,
        iso=_iso,
        weekday=_weekday,
    )
    template = environment.from_string(_text("page.html.j2"))
    return template.render(
        **view,
        charts=charts,
        currency=words.shown(currency).upper(),
        style=style,
        script=script,
        libraries=libraries,
        policy=_policy(scripts=[libraries, script], styles=[style]),
    )


def _policy(*, scripts: list[str], styles: list[str]) -> str:
    """Nothing is fetched, sent, framed or evaluated; only the scripts and styles of this file run, known by hash."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8").strip()


def _iso(moment: date) -> str:
    return moment.isoformat()[:16].replace("T", " ")


def _weekday(number: int) -> str:
    return ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[number - 1]
