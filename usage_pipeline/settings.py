"""Settings: environment over `.env` over defaults, checked before anything is fetched or written.

Put configuration and its validation here; keep reading it at import time out (callers use `Settings.from_env`).
"""

import logging
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.sources import DotEnvSettingsSource

from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import FixConfig
from usage_pipeline.redaction import without_keys
from usage_pipeline.setting_checks import (
    ALLOW_HOST,
    STORE_SECRETS,
    Executor,
    MartEngine,
    check_base_url,
    check_executor,
    check_host,
    check_label,
    check_lake_url,
    check_path,
    check_spark_master,
    check_webhook,
    clean_key,
)
from usage_pipeline.windows import utc_now

_log = logging.getLogger(__name__)
_PREFIX = "USAGE_PIPELINE_"
_MONTHS_KEPT = 11  # the service keeps about a year (QUIRKS: reporting_lookback_exceeded); stay inside it


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """What one of several organizations knows of the others: all labels and keys; and why it has no key itself."""

    labels: tuple[str, ...]
    keys: tuple[SecretStr, ...]
    key_problem: str | None = None


class Settings(BaseSettings):
    """What a run needs to know of one organization.

    The key is a SecretStr: it prints as stars, and goes only into the request header.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    admin_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_ADMIN_KEY")
    # Before base_url, whose check needs it.
    allow_host: str | None = Field(default=None, validation_alias=ALLOW_HOST)
    base_url: str = Field(default="https://api.openai.com/v1", validation_alias="OPENAI_BASE_URL")
    data_dir: Path = Field(default=Path("data"), validation_alias="USAGE_PIPELINE_DATA_DIR")
    bucket_width: BucketWidth = Field(default="1d", validation_alias="USAGE_PIPELINE_BUCKET_WIDTH")
    lookback_days: int = Field(default=7, ge=0, le=366, validation_alias="USAGE_PIPELINE_LOOKBACK_DAYS")
    start_date: date | None = Field(default=None, validation_alias="USAGE_PIPELINE_START_DATE")
    organization: str = Field(default="default", validation_alias="USAGE_PIPELINE_ORGANIZATION")
    reconciliation_tolerance: Decimal = Field(
        default=Decimal("0.05"), ge=0, le=1, validation_alias="USAGE_PIPELINE_RECONCILIATION_TOLERANCE"
    )
    webhook_url: SecretStr | None = Field(default=None, validation_alias="USAGE_PIPELINE_WEBHOOK_URL")
    executor: Executor = Field(default="in_process", validation_alias="USAGE_PIPELINE_EXECUTOR")
    lake_url: str | None = Field(default=None, validation_alias="USAGE_PIPELINE_LAKE_URL")
    mart_engine: MartEngine = Field(default="duckdb", validation_alias="USAGE_PIPELINE_MART_ENGINE")
    spark_master: str | None = Field(default=None, validation_alias="USAGE_PIPELINE_SPARK_MASTER")
    _membership: Membership | None = PrivateAttr(default=None)

    @classmethod
    def from_env(cls, env_file: Path | None = Path(".env"), **given: Any) -> Self:
        """Read and check the settings; those `given` by name win over environment and file.

        Raises:
            FixConfig: a value is wrong or a USAGE_PIPELINE_ variable is not one of ours; the key is never quoted.
        """
        known = {str(f.validation_alias) for f in cls.model_fields.values()}
        try:
            dotenv = _dotenv(env_file)
            in_file = {name.upper() for name, value in dotenv.items() if value}
            warn_of_readers(env_file, in_file & _SECRET_NAMES)
            if ALLOW_HOST in in_file:
                raise FixConfig(
                    f"{env_file} sets {ALLOW_HOST}: it counts in the environment alone, for a file that was put here "
                    "must not choose who gets the key. Export it, and take it out of the file."
                )
            named = {name.upper() for name in (*os.environ, *dotenv)}
            unknown = sorted(n for n in named if n.startswith(_PREFIX) and n not in known)
            if unknown:
                raise FixConfig(
                    f"unknown setting {without_keys(unknown[0])}: the settings are {', '.join(sorted(known))}."
                )
            return cls(_env_file=env_file, **given)
        except ValidationError as wrong:
            first = wrong.errors(include_input=False, include_url=False)[0]
            said = first["msg"].removeprefix("Value error, ")
            raise FixConfig(f"setting {'.'.join(map(str, first['loc']))}: {said}.") from None
        except UnicodeDecodeError:
            raise FixConfig(f"{env_file} is not UTF-8 text: save it as UTF-8.") from None

    @field_validator("admin_key", mode="before")
    @classmethod
    def _clean_key(cls, value: Any) -> Any:
        return clean_key(value) if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _check_data_dir(cls, value: Path) -> Path:
        return check_path(value)

    @field_validator("allow_host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        return None if value is None else check_host(value)

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str, others: ValidationInfo) -> str:
        return check_base_url(value, others.data.get("allow_host"))

    @field_validator("spark_master")
    @classmethod
    def _check_spark_master(cls, value: str | None) -> str | None:
        return None if value is None else check_spark_master(value)

    @field_validator("lake_url")
    @classmethod
    def _check_lake_url(cls, value: str | None) -> str | None:
        return None if value is None else check_lake_url(value)

    @field_validator("webhook_url", mode="before")
    @classmethod
    def _check_webhook(cls, value: Any) -> Any:
        return check_webhook(value) if isinstance(value, str) else value

    @field_validator("organization")
    @classmethod
    def _check_label(cls, value: str) -> str:
        return check_label(value)

    @property
    def secrets(self) -> list[str]:
        """What must be in no message, log or file: the other organizations' keys neither."""
        others = self._membership.keys if self._membership is not None else ()
        held = dict.fromkeys((self.admin_key, self.webhook_url, *others))
        given = [os.environ.get(name, "") for name in STORE_SECRETS if self.lake_url is not None]
        return [*(secret.get_secret_value() for secret in held if secret is not None), *filter(None, given)]

    def joined(self, membership: Membership) -> Self:
        """These settings as those of one of several organizations."""
        copy = self.model_copy()
        copy._membership = membership
        return copy

    @property
    def is_one_of_several(self) -> bool:
        """Whether `usage_pipeline.toml` names organizations, so that commands have to say which."""
        return self._membership is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all organizations that are synced into this folder."""
        return (self.organization,) if self._membership is None else self._membership.labels

    def command(self, name: str) -> str:
        """A command of ours as it has to be typed for this organization."""
        return f"usage-pipeline {name}" + (f" --organization {self.organization}" if self.is_one_of_several else "")

    @property
    def service(self) -> str:
        """The host, and port where one is named, that is asked and gets the key."""
        return urlsplit(self.base_url).netloc

    def require_key(self) -> SecretStr:
        """The admin key.

        Raises:
            FixConfig: none is set.
        """
        if self.admin_key is None and self._membership is not None:
            raise FixConfig(f"organization {self.organization}: {self._membership.key_problem}")
        if self.admin_key is None:
            raise FixConfig(
                "OPENAI_ADMIN_KEY is not set: create an admin key in the organization's settings and put it in the "
                "environment or in .env, or try `usage-pipeline demo`, which needs none."
            )
        return self.admin_key

    def require_executor(self) -> Executor:
        """What runs Dagster's steps.

        Raises:
            FixConfig: what it needs is not installed or not set.
        """
        try:
            check_executor(self.executor)
        except ValueError as wrong:
            raise FixConfig(f"setting USAGE_PIPELINE_EXECUTOR: {wrong}.") from None
        return self.executor

    def first_day(self, today: date | None = None) -> date:
        """The first day to keep: the setting, else the first of the month eleven months back (a year is kept)."""
        if self.start_date is not None:
            return self.start_date
        today = today or utc_now().date()
        months = today.year * 12 + today.month - 1 - _MONTHS_KEPT
        return date(months // 12, months % 12 + 1, 1)

    def prepare_data_dir(self) -> None:
        """Create the data folder, and make sure that it can be written, before anything is asked of the service.

        Raises:
            FixConfig: it cannot; the message has the path and the system's reason.
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.data_dir):
                pass
        except OSError as refused:
            raise FixConfig(
                f"the data folder {self.data_dir.absolute()} cannot be written ({refused.strerror}): mend its rights "
                "or set USAGE_PIPELINE_DATA_DIR to another folder."
            ) from None

    @property
    def lake_dir(self) -> Path:
        """Folder of the Delta tables."""
        return self.data_dir / "lake"

    @property
    def raw_dir(self) -> Path:
        """Folder of the raw archive."""
        return self.data_dir / "raw"

    @property
    def warehouse_path(self) -> Path:
        """The published DuckDB file."""
        return self.data_dir / "warehouse.duckdb"


def variables(env_file: Path | None, *, with_environment: bool = True) -> dict[str, str]:
    """What the file holds, under the environment where that counts; names in upper case, empty values left out."""
    found: dict[str, str] = {}
    for source in (_dotenv(env_file), os.environ if with_environment else {}):
        found |= {name.upper(): value for name, value in source.items() if value}
    return found


def _dotenv(env_file: Path | None) -> Mapping[str, str | None]:
    return DotEnvSettingsSource(Settings, env_file=env_file, env_file_encoding="utf-8").env_vars


_SECRET_NAMES = {"OPENAI_ADMIN_KEY", "USAGE_PIPELINE_WEBHOOK_URL"}
_warned: set[Path] = set()


def warn_of_readers(env_file: Path | None, secrets: Collection[str]) -> None:
    """Say once that others on this machine can read the file where it holds these secrets."""
    if env_file is None or not secrets or os.name != "posix":
        return
    path = env_file.absolute()
    if path not in _warned and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        _warned.add(path)
        _log.warning("%s holds a secret and others on this machine can read it: chmod 600 %s", env_file, env_file)
