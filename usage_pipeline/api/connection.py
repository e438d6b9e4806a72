"""The connection pool: to one origin, with one key, and with nothing of the environment.

Put what holds for every connection here; what is sent over them, and how often, is transport.py's.
"""

import logging
import ssl
from functools import cache

import httpx
from pydantic import SecretStr

from usage_pipeline.errors import FixConfig

_USER_AGENT = "usage-pipeline"


def connections(
    base_url: str,
    key: SecretStr,
    *,
    concurrency: int,
    timeout: httpx.Timeout,
    transport: httpx.AsyncBaseTransport | None,
) -> httpx.AsyncClient:
    """The pool. No redirects and no environment (proxies, .netrc): the key goes to the base URL only.

    Raises:
        FixConfig: the key or the base URL cannot be used.
    """
    secret = key.get_secret_value()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise FixConfig(
            "the admin key is empty or holds a space, a line break or a non-ASCII character; copy it again."
        )
    for name in ("httpx", "httpcore"):  # below WARNING they log answers' heads as they come, and one may echo the key
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return httpx.AsyncClient(
            base_url=base_url,
            headers={
                "Authorization": f"Bearer {secret}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": _USER_AGENT,
            },
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            verify=_authorities(),
        )
    except httpx.InvalidURL:
        raise FixConfig("OPENAI_BASE_URL is not an address: it needs the form https://host/v1.") from None


@cache
def _authorities() -> ssl.SSLContext:
    """Who is trusted, httpx's own; read once, which takes as long as ten requests: each organization has a pool."""
    return httpx.create_ssl_context(trust_env=False)
