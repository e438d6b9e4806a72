"""How the service says no: every error body of the wire, as values that can be raised.

Put status codes and error bodies of the served contract here; when to refuse is decided by the modules that raise them,
and errors of the pipeline itself live in `usage_pipeline.errors`.
"""

from collections.abc import Iterable
from typing import Any

_SCOPE_TEXT = (
    "You have insufficient permissions for this operation. Missing scopes: {scope}. Check that you have the "
    "correct role in your organization (Reader, Writer, Owner) and project (Viewer, Member, Owner), and if you're "
    "using a restricted API key, that it has the necessary scopes."
)


class Refusal(Exception):
    """One refused request: the status and the JSON body the service answers."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def refusal(
    message: str, *, param: str | None = None, code: str | None = "invalid_request_error", status: int = 400
) -> Refusal:
    """A refusal with the usual error object as its body."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Refusal(status, {"error": error})


def missing_scope(status: int, scope: str = "api.usage.read") -> Refusal:
    """The refusal whose `error` is a bare string, as seen live for a key without the scope."""
    return Refusal(status, {"error": _SCOPE_TEXT.format(scope=scope)})


def invalid_type(param: str) -> Refusal:
    """A value that cannot be read as the parameter's type."""
    return refusal(f"Invalid type for '{param}'.", param=param, code="invalid_type")


def unsupported_value(param: str, value: str, supported: Iterable[str]) -> Refusal:
    """A value outside the closed list of a parameter; the message lists what is allowed."""
    listed = ", ".join(f"'{item}'" for item in supported)
    return refusal(f"Invalid value: '{value}'. Supported values are: {listed}", param=param, code="invalid_value")


def invalid_cursor() -> Refusal:
    """A page cursor that is damaged or belongs to another query."""
    return refusal("The page token is invalid, have you modified the query parameters?")
