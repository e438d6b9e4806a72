"""What the simulated organization's ids are called, and how that changes: renames, departures, deletions, archivals.

Put the lives of names here, as the lists of the API show them at a moment; who exists at all is `roster`'s. Nothing
here has any effect on usage or bills.
"""

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from usage_pipeline.name_lists import SPEND_LIMITS
from usage_pipeline.simulator.chance import chance
from usage_pipeline.simulator.events import NEVER
from usage_pipeline.simulator.limits import spend_limit
from usage_pipeline.simulator.roster import FOUNDED, ApiKey, Project, Roster, User
from usage_pipeline.windows import DAY_SECONDS, day_start

_FOUNDED = int(day_start(FOUNDED).timestamp())
_LAST = int(day_start(date(2060, 1, 1)).timestamp())
_LEAVING_SHARE, _RETURNING_SHARE = 0.75, 0.4
_RENAMED_KEYS, _RENAMED_USERS, _RENAMED_ACCOUNTS = 0.6, 0.3, 0.5
_KEY_NAMES = ("prod", "staging", "notebook", "nightly batch", "ci", "R&D 🔬", "o'neill's key")
_SIDE_PROJECTS = ("Hackathon 2024", "Pilot")  # nobody used them; archived by now
_ADMIN_KEYS = 4

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One named thing: there from `born` until `gone`, and again from `back`; a new name at each of `renames`.

    Times are unix seconds.
    """

    id: str
    name: str
    born: int
    gone: int = NEVER
    back: int = NEVER
    renames: tuple[int, ...] = ()

    def is_there(self, now: int) -> bool:
        """Whether lists have it at a moment."""
        return self.born <= now and not self.gone <= now < self.back

    def name_at(self, now: int) -> str:
        """Its name at a moment."""
        times = bisect_right(self.renames, now)
        return f"{self.name} v{times + 1}" if times else self.name


class Directory:
    """Everything that has a name, decided by the seed."""

    def __init__(self, seed: int, roster: Roster) -> None:
        self._seed = seed
        self._roster = roster
        self._show: dict[str, Callable[[str | None, int], list[Item]]] = {
            "projects": self._show_projects,
            "users": self._show_users,
            "api_keys": self._show_keys,
            "service_accounts": self._show_accounts,
            "admin_keys": self._show_admin_keys,
        }

    def listed(self, name: str, project_id: str | None, now: int) -> list[Item] | None:
        """The objects of a list at a moment, oldest first; None where there is no such project."""
        if name in SPEND_LIMITS:
            return self._limits(project_id, now)
        if project_id is not None and not self._is_project(project_id, now):
            return None
        return sorted(self._show[name](project_id, now), key=lambda item: (item[_born_field(name)], item["id"]))

    def _limits(self, project_id: str | None, now: int) -> list[Item] | None:
        """The spend limit of the organization or a project."""
        if project_id is not None and not self._is_project(project_id, now):
            return None
        return [] if (limit := spend_limit(self._seed, project_id, now)) is None else [limit]

    def _is_project(self, project_id: str, now: int) -> bool:
        return project_id in {life.id for life in self.projects if life.born <= now}

    @cached_property
    def projects(self) -> list[Life]:
        """Projects; `gone` is when they were archived, and archived ones stay in the list."""
        used = [self._life(project.id, project.name, "project", renamed_share=1.0) for project in self._roster.projects]
        rng = self._chance("side projects")
        side = []
        for name in _SIDE_PROJECTS:
            born = _FOUNDED + rng.randrange(60, 200) * DAY_SECONDS
            gone = born + rng.randrange(100, 700) * DAY_SECONDS
            side.append(Life(id=_identifier(rng, "proj_"), name=name, born=born, gone=gone))
        return used + side

    @cached_property
    def users(self) -> list[Life]:
        """Members; some leave while their keys work on, some of those come back."""
        return [self._user(user) for user in self._roster.users]

    @cached_property
    def keys(self) -> list[tuple[ApiKey, Life]]:
        """Every project key there ever will be."""
        return [(key, self._key(key)) for key in self._roster.keys_created_by(date.max)]

    @cached_property
    def accounts(self) -> dict[str, list[Life]]:
        """Service accounts by project: the one that owns the keys without a user, and one that was retired."""
        return {project.id: self._accounts_of(project) for project in self._roster.projects}

    @cached_property
    def admin_keys(self) -> list[Life]:
        """Admin keys, each replaced by the next after a while."""
        rng, born, found = self._chance("admin keys"), _FOUNDED, []
        while born < _LAST:
            gone = born + rng.randrange(200, 500) * DAY_SECONDS
            for number in range(_ADMIN_KEYS):
                name = f"pipeline {number + 1}"
                found.append(Life(id=_identifier(rng, "key_", 16), name=name, born=born + number, gone=gone + number))
            born = gone
        return found

    def _chance(self, *names: object) -> random.Random:
        return chance(self._seed, "directory", *names)

    def _life(self, id_: str, name: str, kind: str, *, renamed_share: float) -> Life:
        """Something as old as the organization, renamed every half year or so where it is renamed at all."""
        rng = self._chance(kind, id_)
        born = _FOUNDED - rng.randrange(DAY_SECONDS)
        is_renamed = rng.random() < renamed_share
        return Life(id=id_, name=name, born=born, renames=_moments(rng, born, _LAST, 90, 360) if is_renamed else ())

    def _user(self, user: User) -> Life:
        life = self._life(user.id, user.name, "user", renamed_share=_RENAMED_USERS)
        rng = self._chance("leaving", user.id)
        if rng.random() >= _LEAVING_SHARE:
            return life
        gone = _FOUNDED + rng.randrange(300, 1_300) * DAY_SECONDS + rng.randrange(DAY_SECONDS)
        back = gone + rng.randrange(15, 150) * DAY_SECONDS if rng.random() < _RETURNING_SHARE else NEVER
        return Life(id=life.id, name=life.name, born=life.born, gone=gone, back=back, renames=life.renames)

    def _key(self, key: ApiKey) -> Life:
        rng = self._chance("key", key.id)
        born = int(day_start(key.created).timestamp())
        gone = NEVER if key.deleted is None else int(day_start(key.deleted).timestamp())
        name = f"{rng.choice(_KEY_NAMES)} {key.id[-4:]}"
        is_renamed = rng.random() < _RENAMED_KEYS
        renames = _moments(rng, born, min(gone, _LAST), 20, 300) if is_renamed else ()
        return Life(id=key.id, name=name, born=born, gone=gone, renames=renames)

    def _accounts_of(self, project: Project) -> list[Life]:
        rng = self._chance("accounts", project.id)
        worker = self._life(
            _identifier(rng, "svc_acct_"), f"{project.name} worker", "account", renamed_share=_RENAMED_ACCOUNTS
        )
        gone = _FOUNDED + rng.randrange(200, 1_200) * DAY_SECONDS
        return [worker, Life(id=_identifier(rng, "svc_acct_"), name="retired importer", born=_FOUNDED, gone=gone)]

    # As the lists show them

    def _show_projects(self, _project_id: str | None, now: int) -> list[Item]:
        return [
            {
                "id": life.id,
                "created_at": life.born,
                "name": life.name_at(now),
                "status": "archived" if life.gone <= now else "active",
                "archived_at": life.gone if life.gone <= now else None,
                "external_key_id": None,
            }
            for life in self.projects
            if life.born <= now
        ]

    def _show_users(self, _project_id: str | None, now: int) -> list[Item]:
        emails = {user.id: user.email for user in self._roster.users}
        return [
            {
                "id": life.id,
                "added_at": life.born if now < life.back else life.back,
                "created": life.born,
                "name": life.name_at(now),
                "email": emails[life.id],
                "role": "owner" if number == 0 else "reader",
                "is_default": number == 0,
                "is_service_account": False,
                "api_key_last_used_at": now - now % 3600,
                "technical_level": None,
                "user": {"object": "user", "id": life.id, "name": life.name_at(now), "email": emails[life.id]},
                "projects": {"object": "list", "data": []},
            }
            for number, life in enumerate(self.users)
            if life.is_there(now)
        ]

    def _show_keys(self, project_id: str | None, now: int) -> list[Item]:
        return [
            {
                "id": life.id,
                "created_at": life.born,
                "last_used_at": now - now % 3600,
                "name": life.name_at(now),
                "redacted_value": f"sk-proj-****{life.id[-4:]}",
                **self._owner(key, now),
            }
            for key, life in self.keys
            if key.project_id == project_id and life.is_there(now)
        ]

    def _owner(self, key: ApiKey, now: int) -> Item:
        """Who owns a key, and whether they still have access to its project."""
        if key.user_id is None:
            owner = self.accounts[key.project_id][0]
            shown = {"id": owner.id, "created_at": owner.born, "name": owner.name_at(now), "role": "member"}
            return {
                "owner": {"type": "service_account", "service_account": shown},
                "owner_project_access": "active",
            }
        owner = next(life for life in self.users if life.id == key.user_id)
        email = next(user.email for user in self._roster.users if user.id == key.user_id)
        shown = {"id": owner.id, "created_at": owner.born, "name": owner.name_at(now), "role": "member", "email": email}
        access = "active" if owner.is_there(now) else "inactive"
        return {"owner": {"type": "user", "user": shown}, "owner_project_access": access}

    def _show_accounts(self, project_id: str | None, now: int) -> list[Item]:
        return [
            {"id": life.id, "created_at": life.born, "name": life.name_at(now), "role": "member"}
            for life in self.accounts.get(project_id or "", [])
            if life.is_there(now)
        ]

    def _show_admin_keys(self, _project_id: str | None, now: int) -> list[Item]:
        boss = self.users[0]
        return [
            {
                "id": life.id,
                "created_at": life.born,
                "expires_at": None,
                "last_used_at": now - now % 3600,
                "name": life.name_at(now),
                "redacted_value": f"sk-admin-****{life.id[-4:]}",
                "owner": {
                    "type": "user",
                    "object": "organization.user",
                    "id": boss.id,
                    "name": boss.name_at(now),
                    "created_at": boss.born,
                    "role": "owner",
                },
            }
            for life in self.admin_keys
            if life.is_there(now)
        ]


def _born_field(list_name: str) -> str:
    return "added_at" if list_name == "users" else "created_at"


def _moments(rng: random.Random, start: int, end: int, low: int, high: int) -> tuple[int, ...]:
    """Moments between start and end, some days apart."""
    found, at = [], start + rng.randrange(low, high) * DAY_SECONDS + rng.randrange(DAY_SECONDS)
    while at < end:
        found.append(at)
        at += rng.randrange(low, high) * DAY_SECONDS
    return tuple(found)


def _identifier(rng: random.Random, prefix: str, length: int = 24) -> str:
    return prefix + "".join(rng.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=length))
