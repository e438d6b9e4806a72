"""Every error the pipeline raises on purpose, grouped by what the reader must do.

    UsagePipelineError                 exit code 1
    +-- FixConfig                      2  a setting, a key or an argument is wrong: mend it
    |   +-- PermissionRefused             401/403: wrong key kind or missing scope
    |   +-- NewerFormat                   the data folder was written by a newer usage_pipeline: upgrade this one
    +-- RetryLater                     1  the service is busy or out of reach: run again later
    |   +-- RateLimited                   429 until the deadline
    +-- SourceChanged                  1  the service answered something the contract does not allow
    |   +-- BadPayload                    a body that is not a valid page
    |       +-- PageTooLarge                one of more bytes than are taken: ask for fewer buckets
    |   +-- IncompleteListing             buckets missing, repeated with other content, or outside the window
    |   +-- RequestRefused                400: a parameter the service does not take
    |       +-- NotFound                  404, 410: there is nothing at this address
    |       +-- GroupingRefused           a dimension that cannot be grouped by in this window
    |       +-- HistoryExceeded           the window starts before what the service keeps
    +-- WarehouseBusy                  1  another writer kept winning: run again
    +-- LakeUnwritable                 1  the disk or the folder refused a write: make room or mend its rights
    +-- MemoryExhausted                1  the machine had too little memory: free some, or read fewer days at once
    +-- LakeDamaged                    1  a file of the lake or the raw archive is missing or altered
    +-- CheckFailed                    3  data is there and a check on it does not hold

Messages name the endpoint, the window and the way out; never the key, never a whole body.
"""


class UsagePipelineError(Exception):
    """Base of all errors raised on purpose; `str()` is one line meant for people."""

    exit_code = 1


class FixConfig(UsagePipelineError):
    """A setting, argument or key is wrong; nothing was fetched or written."""

    exit_code = 2


class PermissionRefused(FixConfig):
    """The service refused the key (401 or 403): wrong kind, revoked, or without the scope."""


class NewerFormat(FixConfig):
    """The lake or the raw archive was written by a newer version in a way this one does not know."""


class RetryLater(UsagePipelineError):
    """The service is busy or out of reach; `seconds` is how long it asked to wait, where it said so."""

    def __init__(self, message: str, *, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class RateLimited(RetryLater):
    """429 answers outlasted the request's deadline."""


class SourceChanged(UsagePipelineError):
    """The service answered something the contract does not allow; nothing was written."""


class BadPayload(SourceChanged):
    """A body that is not a valid page of this endpoint."""


class PageTooLarge(BadPayload):
    """A body beyond the cap on its size; one of fewer buckets may be taken."""


class IncompleteListing(SourceChanged):
    """The pages do not hold every expected bucket exactly once inside the window."""


class RequestRefused(SourceChanged):
    """400: the service does not take a parameter; `param` names it where the service did."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotFound(RequestRefused):
    """404 or 410: there is nothing at this address, or an outage says so."""


class GroupingRefused(RequestRefused):
    """A dimension cannot be grouped by in this window; `floor` (unix s) is from when it can, where said."""

    def __init__(self, message: str, *, dimension: str | None, floor: int | None = None) -> None:
        super().__init__(message, param="group_by")
        self.dimension = dimension
        self.floor = floor


class HistoryExceeded(RequestRefused):
    """The window starts before what the service still keeps (about a year)."""


class WarehouseBusy(UsagePipelineError):
    """Another writer kept changing the same window; nothing of this attempt was written."""


class LakeUnwritable(UsagePipelineError):
    """The disk or the folder refused a write; what was there before is unchanged."""


class MemoryExhausted(UsagePipelineError):
    """The machine gave no more memory; what was there before is unchanged."""


class LakeDamaged(UsagePipelineError):
    """A file of the lake or the raw archive is missing or is not what was written."""


class CheckFailed(UsagePipelineError):
    """The data is there and a check on it does not hold."""

    exit_code = 3
