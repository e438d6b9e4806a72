"""The work every contender does: minute buckets of completions by all seven dimensions, and what they add up to.

Put the made-up rows and their expected sums here; serving them is server.py's. No contender is imported here.
"""

import json
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

MINUTES = 1440
FIELDS = ("input_tokens", "output_tokens", "num_model_requests")
DIMENSIONS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source")
MEASURES = (
    *FIELDS,
    "input_uncached_tokens",
    "input_cached_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
)
_NULLS = 0.05
_PROJECTS = [f"proj_{n:024x}" for n in range(20)]
_USERS = [f"user-{n:024x}" for n in range(60)]
_KEYS = [f"key_{n:016x}" for n in range(120)]
_MODELS = [f"gpt-{n}.1-2026-0{n % 9 + 1}-14" for n in range(12)]
MOST_GROUPS = len(_PROJECTS) * len(_MODELS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """So many groups in each minute of so many days up to yesterday; `restated` adds a request to each row."""

    groups: int
    days: int
    last_day: date

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.groups * MINUTES * self.days

    @property
    def first_day(self) -> date:
        """The first day."""
        return self.last_day - timedelta(days=self.days - 1)

    @property
    def start_time(self) -> int:
        """Unix seconds of the first bucket."""
        return _midnight(self.first_day)

    @property
    def end_time(self) -> int:
        """Unix seconds after the last bucket."""
        return _midnight(self.last_day) + 86400


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def minutes(groups: int, extra: int = 0, keys: int = 0, projects: int = 0) -> tuple[list[bytes], dict[str, int]]:
    """The JSON of the results of each minute of a day (every day has the same), and the sums of the day.

    With `keys` each minute has rows of so many of them as there are groups, as an organization of people has: who calls
    again has the same project, user and models. Without, nearly every row of a day is of a group of its own.
    """
    chance = random.Random(20261101)
    texts: list[bytes] = []
    sums = {"rows": 0, **dict.fromkeys(MEASURES, 0)}
    for _ in range(MINUTES):
        if keys:
            rows = [_row_of_key(chance, key, projects, extra) for key in chance.sample(range(keys), groups)]
        else:
            rows = [_row(chance, group, extra) for group in range(groups)]
        texts.append(json.dumps(rows, separators=(",", ":")).encode())
        sums["rows"] += len(rows)
        for name in MEASURES:
            sums[name] += sum(row[name] or 0 for row in rows)
    return texts, sums


def _row(chance: random.Random, group: int, extra: int) -> dict[str, object]:
    """One group of a minute; project and model tell groups apart whatever else is null."""

    def maybe(values: list[str]) -> str | None:
        return None if chance.random() < _NULLS else chance.choice(values)

    cached, uncached = chance.randrange(4000), chance.randrange(9000)
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": cached + uncached,
        "output_tokens": chance.randrange(3000),
        "num_model_requests": chance.randrange(1, 90) + extra,
        "project_id": _PROJECTS[group % len(_PROJECTS)],
        "user_id": maybe(_USERS),
        "api_key_id": maybe(_KEYS),
        "model": _MODELS[group // len(_PROJECTS)],
        "batch": chance.random() < 0.2,
        "service_tier": maybe(["default", "flex", "priority"]),
        "api_source": "unlabeled",
        "input_uncached_tokens": uncached,
        "input_cached_tokens": cached,
        "input_audio_tokens": 0,
        "output_audio_tokens": chance.randrange(50) if chance.random() < _NULLS else None,
    }


def _row_of_key(chance: random.Random, key: int, projects: int, extra: int) -> dict[str, object]:
    """A row of a key, which belongs to one user and project and calls two models."""
    names = {
        "project_id": f"proj_{key % projects:024x}",
        "user_id": f"user-{key // 4:024x}",
        "api_key_id": f"key_{key:016x}",
        "model": _MODELS[(key + chance.randrange(2)) % len(_MODELS)],
        "batch": False,
        "service_tier": "default",
    }
    return {**_row(chance, 0, extra), **names}
