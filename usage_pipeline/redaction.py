"""Making text that others wrote fit to be shown: an echoing service's answer, the traceback of a bug, a name.

Put the forms a secret may take in text here (our own messages never hold one in the first place), and what becomes of
characters that would steer whatever shows them.
"""

import json
import logging
import re
import traceback
from collections.abc import Iterable
from urllib.parse import quote

from usage_pipeline.errors import UsagePipelineError

_log = logging.getLogger(__name__)
# However written, for names are compared in upper case and hosts in lower; what ends a quotation is no part of it.
_KEY_LIKE = re.compile(r"(?<![a-z0-9])sk-\S{5,}[^\s'\"`.,:;)\]]", re.IGNORECASE)
_ISSUED = re.compile(r"(?<![a-z0-9])sk-(?:(?:admin|proj|svcacct)-|[a-z0-9]{20})", re.IGNORECASE)


def forms_of(secret: str) -> list[str]:
    """A secret as it may stand in text: verbatim, as Python's repr, JSON or an address writes it; longest first."""
    forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret)}
    return sorted(forms - {""}, key=len, reverse=True)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret taken out, in all its forms."""
    for form in (form for secret in secrets for form in forms_of(secret)):
        text = text.replace(form, "(key)")
    return text


def without_keys(text: str) -> str:
    """The text with everything taken out that looks like a key, whosever it is."""
    return _KEY_LIKE.sub("(key)", text)


def looks_like_key(text: str) -> bool:
    """Whether something in the text looks like a key of any kind, such as sk-...."""
    return _KEY_LIKE.search(text) is not None


def looks_issued(text: str) -> bool:
    """Whether something in it has a form the service gives keys; a folder called sk-learn-data has not."""
    return _ISSUED.search(text) is not None


def escaped(text: str) -> str:
    """The text as people see it: what does not print, and could steer a terminal or turn a line, as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def told(bug: BaseException, secrets: Iterable[str]) -> str:
    """The traceback of an exception with all it came from, without secrets."""
    return redacted("".join(traceback.format_exception(bug)), secrets)


def unexpected(what: str, bug: Exception, secrets: Iterable[str]) -> UsagePipelineError:
    """The error for a bug that must not take others' work along; its traceback is logged. Both without secrets."""
    held = list(secrets)
    _log.error("%s: unexpected failure\n%s", what, told(bug, held))
    return UsagePipelineError(redacted(f"{what}: unexpected {type(bug).__name__}: {bug}. Please report it.", held))
