"""What single settings may hold, wherever they are written: the environment, `.env` or `usage_pipeline.toml`.

Put checks of one value here, each as a function that raises ValueError; which settings there are is settings.py's.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from usage_pipeline.redaction import looks_issued, looks_like_key

ALLOW_HOST = "USAGE_PIPELINE_ALLOW_HOST"
# Where the libraries below take an object store's secrets from.
STORE_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
)
_LAKE_URL = re.compile(r"(s3|gs|abfss)://[A-Za-z0-9][A-Za-z0-9._@-]*(/[A-Za-z0-9._-]+)*")
_SPARK_MASTER = re.compile(r"local(\[[0-9*,]+\])?|yarn|(spark|sc|k8s)://[A-Za-z0-9][A-Za-z0-9.,:/_-]*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SERVICE = "api.openai.com"
_LISTED = 30
_EXTRA = "usage-pipeline[scale]"
_MISPLACED = "that looks like a key, which must not be here: take it out and revoke it"

Executor = Literal["in_process", "multiprocess", "celery", "k8s"]
MartEngine = Literal["duckdb", "spark"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Needs:
    """What an executor cannot do without: a library of the extra, and variables that library reads itself."""

    library: str
    variables: tuple[str, ...] = ()


_EXECUTOR_NEEDS: dict[Executor, _Needs] = {
    "celery": _Needs(library="dagster_celery", variables=("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")),
    "k8s": _Needs(library="dagster_k8s"),
}


def clean_key(value: str) -> str | None:
    """The key without what copy and paste adds; None where nothing is left.

    Raises:
        ValueError: it cannot stand in a header; it is not quoted.
    """
    key = value.strip().strip("\"'").strip()
    if not key:
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key holds a space, a line break or a non-ASCII character; copy it again")
    return key


def check_base_url(value: str, allow_host: str | None) -> str:
    """Allow the service, its regional hosts, loopback and the one host opted in to: whoever it is gets the key.

    Plain http is for loopback only: the key must not cross a network in the clear.

    Raises:
        ValueError: it is none of these, or holds what looks like a key; that is not quoted.
    """
    if looks_like_key(value):
        raise ValueError(_MISPLACED)
    url = value.strip().rstrip("/")
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    try:
        is_plain = bool(parts.hostname) and not (parts.username or parts.password or parts.query or parts.fragment)
        is_plain = is_plain and parts.port != 0
    except ValueError:  # a port that is no port
        is_plain = False
    if not is_safe or not is_plain:
        raise ValueError("needs the form https://host/v1 (plain http only for 127.0.0.1 or localhost)")
    host = parts.hostname or ""
    is_service = host == _SERVICE or host.endswith(f".{_SERVICE}")
    allowed = (allow_host or "").lower()
    if not is_service and host not in _LOOPBACK and host != allowed:
        raise ValueError(
            f"{host} is not {_SERVICE}, and would get the key: mend the address, or, where that is meant, set "
            f"{ALLOW_HOST}={host} in the environment"
        )
    return url


def check_host(value: str) -> str:
    """A host to opt in to is shown, so it is none that looks like a key.

    Raises:
        ValueError: it does.
    """
    if looks_like_key(value):
        raise ValueError(_MISPLACED)
    return value


def check_path(path: Path) -> Path:
    """Expand ~, and refuse what the engines underneath read as patterns, escapes or partitions; and a key.

    Raises:
        ValueError: it holds one of these.
    """
    if looks_issued(str(path)):
        raise ValueError(_MISPLACED)
    path = path.expanduser()
    odd = sorted(set(str(path.absolute())) & set("%?*[]#=")) or [c for c in str(path) if not c.isprintable()]
    if odd:
        raise ValueError(f"the path {str(path.absolute())!r} holds {odd[0]!r}: choose one without % ? * [ ] # =")
    return path


def check_label(value: str) -> str:
    """The label becomes a folder name and a partition value: keep it to letters that are safe in both.

    Raises:
        ValueError: it holds others, or looks like a key.
    """
    if value.lower().startswith("sk-") or looks_like_key(value):
        raise ValueError(_MISPLACED)
    if not _LABEL.fullmatch(value):
        raise ValueError("use 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit")
    return value


def check_lake_url(value: str) -> str:
    """The place of a lake on an object store; what would be a credential in it is refused and not quoted.

    Raises:
        ValueError: it is another kind of address, or holds a key.
    """
    if looks_like_key(value):
        raise ValueError(_MISPLACED)
    url = value.strip().rstrip("/")
    is_azure = url.startswith("abfss://")
    if not _LAKE_URL.fullmatch(url) or ("@" in url) != is_azure or any(p in (".", "..") for p in url.split("/")):
        raise ValueError(
            "needs the form s3://bucket/prefix, gs://bucket/prefix or abfss://container@account.dfs.core.windows.net/"
            "prefix; credentials are taken from the environment, never from the address"
        )
    return url


def check_spark_master(value: str) -> str:
    """Where Spark is; what would be a credential in it is refused and not quoted.

    Raises:
        ValueError: it is no such address.
    """
    master = value.strip()
    if looks_like_key(master) or not _SPARK_MASTER.fullmatch(master):
        raise ValueError(
            "needs the form spark://host:7077, sc://host:15002, k8s://..., yarn or local[*]; an address with a token "
            "goes into SPARK_REMOTE, which Spark reads itself"
        )
    return master


def check_webhook(value: str) -> str | None:
    """Allow https anywhere, plain http on loopback only; never quote it: who has it can post.

    Raises:
        ValueError: it is another.
    """
    url = value.strip()
    if not url:
        return None
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (is_local or (parts.scheme == "https" and parts.hostname)) or not url.isascii() or " " in url:
        raise ValueError("needs the form https://host/path (plain http only for 127.0.0.1 or localhost)")
    return url


def check_executor(executor: Executor) -> None:
    """What the executor needs is here; asked where Dagster is to run, for commands without it need none of that.

    Raises:
        ValueError: the extra is not installed, or it was not told whom to talk to.
    """
    needs = _EXECUTOR_NEEDS.get(executor)
    if needs is None:
        return
    if find_spec(needs.library) is None:
        raise ValueError(f"{executor} needs the extra `scale`: pip install '{_EXTRA}', or uv sync --extra scale")
    for name in needs.variables:
        if not os.environ.get(name):
            raise ValueError(f"{executor} needs {name} in the environment, such as redis://127.0.0.1:6379/0")


def listed(labels: Sequence[str]) -> str:
    """The labels to choose from, as an error names them; of hundreds the first ones."""
    more = len(labels) - _LISTED
    return ", ".join(labels[:_LISTED]) + (f" and {more} more" if more > 0 else "")
