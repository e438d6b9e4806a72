"""Objects at a URL: the lake's door to object stores (S3, Google Cloud Storage, Azure).

Put reading, listing and writing of single objects here, and what a store's refusals mean for people; which objects a
lake consists of is mirror.py's. Credentials are those of the usual environment variables; they are in no message.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deltalake.exceptions import CommitFailedError, DeltaError

from usage_pipeline.errors import FixConfig, RetryLater, UsagePipelineError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_EXTRA = "usage-pipeline[store]"
_RETRIES = 5
_RETRY_SECONDS = 60
_CLIENT = {"timeout": "120s", "connect_timeout": "10s"}
_CHUNK_BYTES = 8 << 20
_LISTED_AT_ONCE = 1000

_OF_A_STORE = re.compile(r"error performing|error sending|status code|generic \w+ error|credential", re.IGNORECASE)
_NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist|ContainerNotFound|container does not exist", re.IGNORECASE)
_NO_CREDENTIALS = re.compile(r"169\.254\.|metadata\.google|no credential|missing credential|not initialized", re.I)
_REFUSED = re.compile(
    r"\b40[13]\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|Permission ?Denied|Unauthenticated",
    re.IGNORECASE,
)
# What of a store's answer is shown, the first that is there: a code, a status or how the connection failed.
_SHOWN = [
    re.compile(text, re.IGNORECASE)
    for text in (r"<Code>(\w+)</Code>", r"status code: (\d{3} [a-z ]+)", r"(connection \w+|timed out|dns error)")
]


class Objects:
    """The objects under a URL, by their keys there (`lake/usage/costs/...`)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._held: ObjectStore | None = None

    @property
    def _store(self) -> "ObjectStore":
        if self._held is None:
            try:
                from obstore.store import from_url
            except ImportError:
                raise FixConfig(
                    f"USAGE_PIPELINE_LAKE_URL needs the extra `store`: pip install '{_EXTRA}', or uv sync --extra "
                    "store."
                ) from None
            retries: Any = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
            # delta-rs and obstore both know this variable; given options, obstore looks at those alone.
            is_plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")
            client: Any = {**_CLIENT, "allow_http": is_plain}
            with self.explained():
                self._held = from_url(self.url, client_options=client, retry_config=retries)
        return self._held

    def delta_options(self) -> dict[str, str]:
        """The options with which delta-rs opens a table here: of two that write one entry, one is refused."""
        options = {"max_retries": str(_RETRIES), "retry_timeout": f"{_RETRY_SECONDS}s", **_CLIENT}
        if self.url.startswith("s3:"):
            options |= {"aws_conditional_put": "etag", "aws_s3_allow_unsafe_rename": "false"}
        return options

    def get(self, key: str) -> bytes | None:
        """An object's content; None where there is none."""
        import obstore

        with self.explained():
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError as gone:
                self._refuse_no_bucket(gone)
                return None

    def fetch(self, key: str, path: Path) -> bool:
        """Write an object into a file; False where there is no object, and then no file."""
        import obstore

        with self.explained():
            try:
                found = obstore.get(self._store, key).stream(min_chunk_size=_CHUNK_BYTES)
            except FileNotFoundError as gone:
                self._refuse_no_bucket(gone)
                return False
            with path.open("wb") as out:
                out.writelines(found)
        return True

    def put_new(self, key: str, content: bytes | Path) -> bool:
        """Write an object that is not there yet, by one conditional put; False where there is one already."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self.explained():
            try:
                obstore.put(self._store, key, content, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError as gone:
                self._refuse_no_bucket(gone)
                raise
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no harm."""
        import obstore

        with self.explained():
            for key in keys:
                try:
                    obstore.delete(self._store, key)
                except FileNotFoundError as gone:
                    self._refuse_no_bucket(gone)

    def sizes(self, folder: str, *, after: str = "") -> dict[str, int]:
        """The keys in a folder and below, in order, with their sizes in bytes; only those that sort after a key."""
        import obstore

        with self.explained():
            pages = obstore.list(self._store, folder, offset=after or None, chunk_size=_LISTED_AT_ONCE)
            return dict(sorted((str(one["path"]), int(one["size"])) for page in pages for one in page))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Let the block's errors of the store leave as ours; others, and conflicts of commits, as they are.

        Raises:
            FixConfig: there is no such bucket, or it refuses the credentials.
            RetryLater: the store is out of reach, or fails.
        """
        try:
            yield
        except (UsagePipelineError, CommitFailedError, FileNotFoundError, MemoryError):
            raise
        except Exception as wrong:
            if isinstance(wrong, OSError | DeltaError) and not _OF_A_STORE.search(str(wrong)):
                raise
            if not isinstance(wrong, OSError | DeltaError) and not type(wrong).__module__.startswith("obstore"):
                raise
            self._refuse(wrong)

    def _refuse_no_bucket(self, gone: Exception) -> None:
        if _NO_BUCKET.search(str(gone)):
            self._refuse(gone)

    def _refuse(self, wrong: Exception) -> NoReturn:
        text = str(wrong)
        if _NO_BUCKET.search(text):
            raise FixConfig(
                f"USAGE_PIPELINE_LAKE_URL: there is no bucket for {self.url}: create it, or mend the address."
            ) from None
        if "builder error" in text:
            raise FixConfig(
                f"{self.url}: the endpoint in the environment is no https address: mend it, or, for a server on this "
                "machine, set AWS_ALLOW_HTTP=true."
            ) from None
        if _NO_CREDENTIALS.search(text):
            raise FixConfig(
                f"{self.url}: no credentials were found: set them in the environment (for S3 AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_REGION), or run where the machine has a role."
            ) from None
        if _REFUSED.search(text):
            raise FixConfig(
                f"{self.url} refuses the credentials of the environment ({_shown(text)}): mend them, or let them read, "
                "list, write and delete there."
            ) from None
        raise RetryLater(
            f"{self.url} is out of reach or fails ({_shown(text)}): run again later; nothing half-written counts."
        ) from None


def _shown(text: str) -> str:
    found = next((found for form in _SHOWN if (found := form.search(text))), None)
    return "no answer" if found is None else found[1].strip()
