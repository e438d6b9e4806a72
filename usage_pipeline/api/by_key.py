"""Several organizations behind one address, as the service has them: the admin key says whose answer is asked for.

Put telling apart by key here; what one organization answers is server.py's.
"""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from usage_pipeline.api.refusals import refusal


class ByKey:
    """Answers each request with the app of its key; a key that is nobody's is refused, and not quoted."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = dict(apps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to its organization, or refuse it."""
        _, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        app = self._apps.get(key)
        if app is None:
            refused = refusal("Incorrect API key provided.", code="invalid_api_key", status=401)
            app = JSONResponse(refused.body, status_code=refused.status)
        await app(scope, receive, send)
