"""Who the simulated organization is: its projects, users and the API keys they create and delete.

Put identities and their lifetimes here; what they do with the API is in `workloads` and `events`.
"""

import random
import string
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from usage_pipeline.simulator.chance import chance

FOUNDED = date(2024, 1, 1)
KEY_SLOTS = 26

_LAST_DAY = date(2060, 1, 1)
_ALPHABET = string.ascii_letters + string.digits
_PROJECT_NAMES = ("Default project", "Search", "Support bot", "R&D, internal", "Übersetzung 🚀")
_USER_NAMES = (
    "Ada Moreau", "Bao Nguyen", "Chidi Okafor", "Dana Weiss", "Elif Kaya", "Farid Haddad",
    "Grete Lund", "Hiro Tanaka", "Inés Ortega", "Jon Ek", "Kavya Rao", "Liam O'Neill",
)  # fmt: skip
_PERMANENT_SHARE = 0.3  # keys nobody rotates
_SERVICE_SHARE = 0.2  # keys of service accounts: their requests have no user


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project of the organization."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A member of the organization."""

    id: str
    name: str
    email: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A project key; it works from the day it was created to the day before it was deleted."""

    id: str
    project_id: str
    user_id: str | None
    created: date
    deleted: date | None


class Roster:
    """Everyone there is and ever will be, decided by the seed."""

    def __init__(self, seed: int) -> None:
        rng = chance(seed, "roster")
        self.organization_id = _identifier(rng, "org-")
        self.organization_name = "Acme Research"
        self.projects = tuple(Project(id=_identifier(rng, "proj_"), name=name) for name in _PROJECT_NAMES)
        self.users = tuple(
            User(id=_identifier(rng, "user-"), name=name, email=f"{name.split()[0].lower()}@acme.example")
            for name in _USER_NAMES
        )
        self._slots = [list(self._lives(chance(seed, "slot", number))) for number in range(KEY_SLOTS)]
        self._births = [[key.created for key in lives] for lives in self._slots]

    def keys_on(self, day: date) -> tuple[ApiKey | None, ...]:
        """The working key of each slot; None where there is none on that day."""
        found: list[ApiKey | None] = []
        for lives, births in zip(self._slots, self._births, strict=True):
            key = lives[max(bisect_right(births, day) - 1, 0)]
            works = key.created <= day and (key.deleted is None or day < key.deleted)
            found.append(key if works else None)
        return tuple(found)

    def keys_created_by(self, day: date) -> list[ApiKey]:
        """Every key created until the day, deleted ones too."""
        return [key for lives in self._slots for key in lives if key.created <= day]

    def _lives(self, rng: random.Random) -> Iterator[ApiKey]:
        """The keys that follow one another in a slot: one project and owner, rotated or left for ever."""
        project = rng.choice(self.projects).id
        owner = None if rng.random() < _SERVICE_SHARE else rng.choice(self.users).id
        is_permanent = rng.random() < _PERMANENT_SHARE
        created = FOUNDED + timedelta(days=rng.randrange(120))
        while created < _LAST_DAY:
            deleted = None if is_permanent else created + timedelta(days=rng.randrange(45, 500))
            yield ApiKey(
                id=_identifier(rng, "key_", 16), project_id=project, user_id=owner, created=created, deleted=deleted
            )
            if deleted is None:
                return
            created = deleted + timedelta(days=rng.randrange(15))


def _identifier(rng: random.Random, prefix: str, length: int = 24) -> str:
    return prefix + "".join(rng.choices(_ALPHABET, k=length))
