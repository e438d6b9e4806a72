"""The values that travel between the floors: what was received, and what it says.

Put small frozen values shared by the wire, the lake and the sync here; no behaviour beyond what derives from them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import pyarrow as pa

from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.spool import Kept, KeptColumns, held
from usage_pipeline.windows import Window

_ZSTD = pa.Codec("zstd")


@dataclass(frozen=True, kw_only=True, slots=True)
class RawPage:
    """One response exactly as received: the request (path and query, no host, no key), the time, the decoded body.

    Attributes:
        request: Path and query.
        received_at: When its last byte came.
        size: Of the body, in bytes.
        sha256: Hex digest of the body.
        packed: Gives the body compressed (one zstd frame), from wherever it is kept.
    """

    request: str
    received_at: datetime
    size: int
    sha256: str
    packed: Kept = field(compare=False, repr=False)

    @classmethod
    def of(cls, request: str, received_at: datetime, body: bytes, keep: Callable[[bytes], Kept] = held) -> Self:
        """The page of a body, which is kept compressed: a day of minutes is tens of megabytes."""
        return cls(
            request=request,
            received_at=received_at,
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            packed=keep(_ZSTD.compress(body, asbytes=True)),
        )

    @property
    def body(self) -> bytes:
        """The body as received."""
        found: bytes = _ZSTD.decompress(self.packed(), self.size, asbytes=True)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberLiteral:
    """A JSON number with a fraction or exponent, kept as its text so that no binary float touches it."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ColumnResults(Sequence[dict[str, Any]]):
    """The results of a bucket as the rows `[first, last)` of a whole page's columns: no row is an object until asked.

    Every field the table knows is there, null where it was absent. Equal to any results that say the same.
    """

    columns: KeptColumns
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: Any) -> Any:
        return self.span().to_pylist()[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.span().to_pylist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ColumnResults):
            return bool(self.span().equals(other.span()))
        return isinstance(other, list) and list(map(_said, self.span().to_pylist())) == list(map(_said, other))

    def __hash__(self) -> int:
        raise TypeError("results are compared, not hashed")

    def span(self) -> pa.RecordBatch:
        """The rows as columns."""
        return self.columns().slice(self.first, len(self))


def _said(result: dict[str, Any]) -> dict[str, Any]:
    """What a result says: an absent field and a null one are alike."""
    return {name: value for name, value in result.items() if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """One validated bucket: unix seconds `[start_time, end_time)` and its results, field name -> value.

    Values are str, bool, int or None for known fields; `amount` is a dict with `value` (literal text or None) and
    `currency`; `quantity` is literal text or None. Fields the table does not know keep their JSON value.
    """

    start_time: int
    end_time: int
    results: Sequence[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRead:
    """A proven-complete read of one endpoint's window with one grouping.

    `window` is what the buckets prove: it may end before the asked window where the rest has not begun yet.
    `fetched_at` is when the read began: of two reads of one day, the later-begun one is the truth.
    """

    endpoint: str
    window: Window
    bucket_width: BucketWidth
    group_by: tuple[str, ...]
    fetched_at: datetime
    pages: list[RawPage]
    buckets: list[Bucket]
    requests: int
    retries: int = 0
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedName:
    """One object of a list of names: its id, the values of its dims columns, and fields the table does not know."""

    id: str
    columns: dict[str, Any]
    extras: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamesRead:
    """A complete read of one list of names: every object once, of every project where it is one list per project.

    `fetched_at` is when the read began. `drift` is what the table of lists does not know.
    """

    list_name: str
    fetched_at: datetime
    pages: list[RawPage]
    items: list[ListedName]
    requests: int
    retries: int = 0
    notes: tuple[str, ...] = field(default=())
    drift: tuple[str, ...] = field(default=())
