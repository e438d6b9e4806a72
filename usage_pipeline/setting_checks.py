"""What single settings may hold, wherever they are written: the environment, `.env` or `usage_pipeline.toml`.

Put checks of one value here, each as a function that raises ValueError; which settings there are is settings.py's.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

ALLOW_HOST = "USAGE_PIPELINE_ALLOW_HOST"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SERVICE = "api.openai.com"
_LISTED = 30


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
        ValueError: it is none of these.
    """
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


def check_label(value: str) -> str:
    """The label becomes a folder name and a partition value: keep it to letters that are safe in both.

    Raises:
        ValueError: it holds others.
    """
    if not _LABEL.fullmatch(value):
        raise ValueError("use 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit")
    return value


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


def listed(labels: Sequence[str]) -> str:
    """The labels to choose from, as an error names them; of hundreds the first ones."""
    more = len(labels) - _LISTED
    return ", ".join(labels[:_LISTED]) + (f" and {more} more" if more > 0 else "")
