"""What the service knows: results per endpoint and day as JSON texts, and the ways in which its truth changes.

Put content and its changes here; how it is served, and served badly, is service.py's.
"""

import json
import random
from collections.abc import Callable
from datetime import date, timedelta

ENDPOINTS = ("costs", "completions")
FIRST_DAY = date(2026, 10, 30)  # windows cross the end of a month, where the lake changes files

_PROJECTS = (None, "proj_a", "proj_b", "", "'; drop table usage.costs; --", 'naïve\n"ünï"\u202e={x}|%2F..\\')
_KEYS = (None, "key_1", "key_2")
_LINES = (None, "gpt-4o, input", "gpt-4o, output", "credit adjustment", "a|b")
_MODELS = (None, "gpt-4o-2024-08-06", "ft:gpt-4o:me::1")
_AMOUNTS = (
    "0", "0.1", "-3.25", "1e-7", "0.30000000000000004", "1E+2", "12345678901234.00000000000000000001", '"7.70"',
    "0.000000000000000000005", "0.000000000000000000015", "-0.01",
)  # fmt: skip
_FIELDS = ("new_field", "another field", 'quo"ted')


def _cost(rng: random.Random) -> str:
    row = {
        "object": "organization.costs.result",
        "project_id": rng.choice(_PROJECTS),
        "line_item": rng.choice(_LINES),
        "api_key_id": rng.choice(_KEYS),
        "quantity": rng.choice((None, 3, 40)),
        "amount": {"value": "AMOUNT", "currency": rng.choice(("usd", "usd", "usd", "eur"))},
    }
    return json.dumps(row).replace('"AMOUNT"', rng.choice(_AMOUNTS))


def _completion(rng: random.Random) -> str:
    row = {
        "object": "organization.usage.completions.result",
        "project_id": rng.choice(_PROJECTS),
        "api_key_id": rng.choice(_KEYS),
        "model": rng.choice(_MODELS),
        "batch": rng.choice((None, False, True)),
        "input_tokens": rng.choice((0, 1, 1000, 2**53 + 1)),
        "output_tokens": rng.randrange(500),
        "num_model_requests": rng.randrange(9),
        "input_cached_tokens": rng.choice((None, 0, 1)),
    }
    return json.dumps(row)


_MAKERS: dict[str, Callable[[random.Random], str]] = {"costs": _cost, "completions": _completion}


class Truth:
    """Results per endpoint and day; a day without any is an empty bucket."""

    def __init__(self) -> None:
        self.days: dict[str, dict[date, list[str]]] = {name: {} for name in ENDPOINTS}
        self._earlier: dict[tuple[str, date], list[str]] = {}

    def served(self, endpoint: str, first: date, end: date) -> dict[date, tuple[str, ...]]:
        """The results of every day of `[first, end)`, as they are now."""
        days = (first + timedelta(days=n) for n in range((end - first).days))
        return {day: tuple(self.days[endpoint].get(day, ())) for day in days}

    def copy(self) -> dict[str, dict[date, list[str]]]:
        """The days as they are now, to be put back."""
        return {name: dict(days) for name, days in self.days.items()}

    def bill(self, rng: random.Random, today: date) -> None:
        """Let today cost something."""
        self.days["costs"][today] = [*self.days["costs"].get(today, []), _cost(rng)]

    def change(self, rng: random.Random, today: date) -> str:
        """Let one thing be different on one day; says what."""
        endpoint = rng.choice(ENDPOINTS)
        day = FIRST_DAY + timedelta(days=rng.randrange((today - FIRST_DAY).days + 1))
        before = self.days[endpoint].get(day, [])
        change = rng.choice(_CHANGES)
        if change is _revert:
            after = list(self._earlier.get((endpoint, day), before))
        else:
            after = change(list(before), rng, _MAKERS[endpoint])
        self._earlier[endpoint, day] = before
        self.days[endpoint][day] = after
        return f"{change.__name__[1:]} {endpoint} {day}"


_Make = Callable[[random.Random], str]


def _late_row(rows: list[str], rng: random.Random, make: _Make) -> list[str]:
    return [*rows, make(rng)]


def _many_rows(rows: list[str], rng: random.Random, make: _Make) -> list[str]:
    return [*rows, *(make(rng) for _ in range(4))]


def _restated(rows: list[str], rng: random.Random, make: _Make) -> list[str]:
    """The measures of another row under the dimensions of one that is there."""
    if not rows:
        return [make(rng)]
    place, other = rng.randrange(len(rows)), make(rng)
    for name in ("amount", "input_tokens"):
        if f'"{name}"' in rows[place]:
            rows[place] = _with(rows[place], name, _value(other, name))
    return rows


def _vanished(rows: list[str], rng: random.Random, make: _Make) -> list[str]:  # noqa: ARG001 - one shape for all
    if rows:
        rows.pop(rng.randrange(len(rows)))
    return rows


def _emptied(rows: list[str], rng: random.Random, make: _Make) -> list[str]:  # noqa: ARG001 - one shape for all
    return []


def _new_field(rows: list[str], rng: random.Random, make: _Make) -> list[str]:
    field = json.dumps(rng.choice(_FIELDS)) + ": " + rng.choice(('"x"', "[1, null]", '{"a": "b"}', "7"))
    return [*rows, make(rng)[:-1] + ", " + field + "}"]


def _same_group_twice(rows: list[str], rng: random.Random, make: _Make) -> list[str]:
    plain = [row for row in rows if not any(json.dumps(field) in row for field in _FIELDS)]
    return [*rows, rng.choice(plain) if plain else make(rng)]


def _reordered(rows: list[str], rng: random.Random, make: _Make) -> list[str]:  # noqa: ARG001 - one shape for all
    rng.shuffle(rows)
    return rows


def _revert(rows: list[str], rng: random.Random, make: _Make) -> list[str]:  # noqa: ARG001 - `change` does it
    return rows


_CHANGES = (
    _late_row, _many_rows, _many_rows, _restated, _restated, _vanished, _vanished, _emptied, _new_field,
    _same_group_twice, _reordered, _revert, _revert,
)  # fmt: skip


def _value(text: str, name: str) -> str:
    """The JSON text of a field's value, its numbers untouched."""
    start = text.index(f'"{name}": ') + len(name) + 4
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end]


def _with(text: str, name: str, value: str) -> str:
    start = text.index(f'"{name}": ') + len(name) + 4
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[:start] + value + text[end:]
