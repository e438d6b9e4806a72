"""Many organizations in one folder: the tables `[organizations.<label>]` of `usage_pipeline.toml`, each as Settings.

Put reading and checking of that file here, and the choice among its organizations; what one of them needs to know is
settings.py's. Keys are in the environment or in `.env`; the file holds the names of their variables alone.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator

from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import FixConfig
from usage_pipeline.setting_checks import check_base_url, check_label, clean_key, listed
from usage_pipeline.settings import Membership, Settings, variables, warn_of_readers

ORGANIZATIONS_FILE = Path("usage_pipeline.toml")  # in the working folder, as `.env`
DEMO_ORGANIZATION = "demo"  # the label of made-up rows
_TABLE = "organizations"
_EXAMPLE = '[organizations.acme] with key_variable = "ACME_ADMIN_KEY"'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class OrganizationTable(BaseModel):
    """One table of the file; what it leaves out is as the settings have it for all."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key_variable: str
    start_date: date | None = None
    bucket_width: BucketWidth | None = None
    base_url: str | None = None

    @field_validator("key_variable")
    @classmethod
    def _check_name(cls, value: str) -> str:
        """A name, never the key itself; what looks like a key is not quoted."""
        if not _NAME.fullmatch(value) or value.lower().startswith("sk_"):
            raise ValueError(
                "needs the name of the environment variable that holds the key, such as ACME_ADMIN_KEY; a key itself "
                "must not be in this file (if one is, take it out and revoke it)"
            )
        if value.upper().startswith("USAGE_PIPELINE_"):
            raise ValueError("names that begin with USAGE_PIPELINE_ are settings: choose another, as ACME_ADMIN_KEY")
        return value


@dataclass(frozen=True, slots=True)
class Organizations:
    """The settings of every organization that is synced into the data folder, in the file's order; one without file."""

    members: tuple[Settings, ...]

    @classmethod
    def from_env(cls, env_file: Path | None = Path(".env"), file: Path = ORGANIZATIONS_FILE) -> Self:
        """Read and check the settings and the file. A key that is missing or unusable is told when it is needed.

        Raises:
            FixConfig: a setting or the file is wrong; the message names line and table, and quotes no value.
        """
        shared = Settings.from_env(env_file)
        text = _read(file)
        tables = _tables(file, text, shared)
        if not tables:
            return cls((shared,))
        if "organization" in shared.model_fields_set:
            raise FixConfig(
                f"USAGE_PIPELINE_ORGANIZATION names one organization and {file} names {listed(list(tables))}: "
                "unset it, and choose with --organization."
            )
        warn_of_readers(env_file, _in_file(env_file, tables))
        held = variables(env_file)
        keys = {label: _key(table, held) for label, table in tables.items()}
        secrets = tuple(key for key in (*keys.values(), shared.admin_key) if isinstance(key, SecretStr))
        return cls(tuple(_member(shared, label, tables[label], keys, secrets) for label in tables))

    @property
    def are_several(self) -> bool:
        """Whether the file names organizations (be it one), so that answers say which is meant."""
        return self.members[0].is_one_of_several

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels."""
        return self.members[0].labels

    @property
    def folder(self) -> Settings:
        """Settings for what concerns the data folder and no organization of it."""
        return self.members[0]

    def choose(self, labels: Sequence[str] | None) -> list[Settings]:
        """The organizations asked for; all where none is.

        Raises:
            FixConfig: a label is not known.
        """
        known = {one.organization: one for one in self.members}
        for label in labels or ():
            if label not in known:
                where = f"in {ORGANIZATIONS_FILE}" if self.are_several else "configured"
                raise FixConfig(f"organization {label!r:.70} is not {where}: there is {listed(self.labels)}.")
        return [known[label] for label in dict.fromkeys(labels or known)]

    def one(self, label: str | None) -> Settings:
        """The organization asked for, or the only one there is.

        Raises:
            FixConfig: it is not known, or none was asked for and there are several.
        """
        chosen = self.choose(None if label is None else [label])
        if len(chosen) > 1:
            raise FixConfig(f"say which organization: --organization with one of {listed(self.labels)}.")
        return chosen[0]


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as refused:
        raise FixConfig(f"{file} cannot be read ({refused.strerror}): mend its rights, or remove it.") from None
    except UnicodeDecodeError:
        raise FixConfig(f"{file} is not UTF-8 text: save it as UTF-8.") from None


def _tables(file: Path, text: str, shared: Settings) -> dict[str, OrganizationTable]:
    """The file's tables by label, each checked by itself and against the others."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        place = re.search(r"\(at [^()]*\)", str(broken))  # the rest of the message may quote the file
        raise FixConfig(f"{file} is not TOML {place[0] if place else ''}: write, for example, {_EXAMPLE}.") from None
    found: dict[str, OrganizationTable] = {}
    tables = content.pop(_TABLE, {})
    if content or not isinstance(tables, dict):
        raise FixConfig(f"{file} may hold nothing but tables {_EXAMPLE}.")
    for label, values in tables.items():
        _check_new_label(file, text, label, found)
        found[label] = table = _checked(file, text, label, values, shared)
        for other, before in found.items():
            if other != label and before.key_variable.upper() == table.key_variable.upper():
                raise _wrong(file, text, label, "key_variable", f"{other} has the same: its costs would count twice")
    return found


def _check_new_label(file: Path, text: str, label: str, before: Mapping[str, object]) -> None:
    try:
        check_label(label)
    except ValueError as wrong:
        raise FixConfig(f"{file}: a label of [organizations.<label>] is wrong: {wrong}.") from None
    if label.lower() == DEMO_ORGANIZATION:
        raise _wrong(file, text, label, None, "that label is the made-up organization's: choose another")
    if label.lower() in map(str.lower, before):
        raise _wrong(file, text, label, None, "another label differs from it in case alone: choose another")


def _checked(file: Path, text: str, label: str, values: Any, shared: Settings) -> OrganizationTable:
    try:
        table = OrganizationTable.model_validate(values)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        known = ", ".join(OrganizationTable.model_fields)
        problem = {
            "missing": "is missing: name the environment variable that holds its key",
            "extra_forbidden": f"is not known; a table may have {known}",
        }.get(first["type"], first["msg"].removeprefix("Value error, "))
        name = "a name" if name is not None and not _NAME.fullmatch(name) else name
        raise _wrong(file, text, label, name, problem) from None
    if table.base_url is None:
        return table
    try:
        return table.model_copy(update={"base_url": check_base_url(table.base_url, shared.allow_host)})
    except ValueError as wrong:
        raise _wrong(file, text, label, "base_url", str(wrong)) from None


def _wrong(file: Path, text: str, label: str, name: str | None, problem: str) -> FixConfig:
    """The error for a table: the line of the name, or of the table's head where the name has none."""
    place = f"{file}, line {_line(text, label, name)}, [organizations.{label}]"
    return FixConfig(f"{place}{'' if name is None else f' {name}'}: {problem}.")


def _line(text: str, label: str, name: str | None) -> int:
    head = re.compile(rf"\s*\[\s*{_TABLE}\s*\.\s*[\"']?{re.escape(label)}[\"']?\s*\]")
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines, 1) if head.match(line)), 1)
    for number, line in enumerate(lines[at:], at + 1):
        if line.lstrip().startswith("["):
            break
        if name is not None and line.partition("=")[0].strip().strip("\"'") == name:
            return number
    return at


def _in_file(env_file: Path | None, tables: Mapping[str, OrganizationTable]) -> set[str]:
    """The key variables that `.env` holds."""
    names = {table.key_variable.upper() for table in tables.values()}
    return names & variables(env_file, with_environment=False).keys()


def _key(table: OrganizationTable, held: Mapping[str, str]) -> SecretStr | str:
    """The key, or why there is none."""
    name = table.key_variable
    try:
        key = clean_key(held.get(name.upper(), ""))
    except ValueError as wrong:
        return f"{name}: {wrong}."
    if key is None:
        return f"{name} is not set: put the organization's admin key in the environment or in .env under this name."
    return SecretStr(key)


def _member(
    shared: Settings,
    label: str,
    table: OrganizationTable,
    keys: Mapping[str, SecretStr | str],
    secrets: tuple[SecretStr, ...],
) -> Settings:
    key = keys[label]
    own = table.model_dump(exclude={"key_variable"}, exclude_none=True)
    is_key = isinstance(key, SecretStr)
    settings = shared.model_copy(update={**own, "organization": label, "admin_key": key if is_key else None})
    return settings.joined(
        Membership(labels=tuple(keys), keys=secrets, key_problem=None if isinstance(key, SecretStr) else key)
    )
