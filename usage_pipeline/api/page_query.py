"""What one request asks: every documented parameter, checked against the endpoint's row before it is sent.

Put parameters and their encoding here; sending them is transport.py's, following pages is paging.py's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from usage_pipeline.endpoints import BucketWidth, Endpoint, PageLimit
from usage_pipeline.errors import FixConfig
from usage_pipeline.windows import WIDTH_SECONDS, Window, utc_moment

Filters = Mapping[str, Sequence[str] | bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageQuery:
    """One page's request; what is None or empty is left to the service's default.

    Times are unix seconds, `[start_time, end_time)`. `filters` maps a query parameter (`project_ids`) to the values
    wanted, or to one boolean for a flag (`batch`). `page` is the page cursor of the page before.
    """

    start_time: int
    end_time: int | None = None
    bucket_width: BucketWidth | None = None
    group_by: tuple[str, ...] = ()
    limit: int | None = None
    page: str | None = None
    filters: Filters = field(default_factory=dict)

    @property
    def span(self) -> str:
        """The window asked for, for messages."""
        if self.end_time is None:
            return f"from {utc_moment(self.start_time):%Y-%m-%dT%H:%M:%S}Z"
        return str(Window.of_times(self.start_time, self.end_time))

    def parameters(self, endpoint: Endpoint) -> list[tuple[str, str]]:
        """The query string's pairs, lists as `name[]`.

        Raises:
            FixConfig: the endpoint does not take a value; the message names those it takes.
        """
        if self.end_time is not None and self.end_time <= self.start_time:
            raise FixConfig(f"{endpoint.name}: end_time must be after start_time ({self.start_time}).")
        pairs = [("start_time", str(self.start_time))]
        pairs += [("end_time", str(self.end_time))] if self.end_time is not None else []
        limits = page_limit(endpoint, self.bucket_width or "1d")
        pairs += [("bucket_width", self.bucket_width)] if self.bucket_width is not None else []
        pairs += [("group_by[]", name) for name in checked_group_by(endpoint, self.group_by)]
        for name, wanted in self.filters.items():
            pairs += _filter_pairs(endpoint, name, wanted)
        if self.limit is not None:
            if not 1 <= self.limit <= limits.maximum:
                raise FixConfig(f"{endpoint.name}: limit={self.limit} is outside 1 to {limits.maximum}.")
            pairs.append(("limit", str(self.limit)))
        return pairs + ([("page", self.page)] if self.page is not None else [])


def page_limit(endpoint: Endpoint, width: BucketWidth) -> PageLimit:
    """How many buckets of this width a page holds.

    Raises:
        FixConfig: the endpoint does not serve the width.
    """
    if width not in endpoint.page_limits:
        raise FixConfig(f"{endpoint.name}: no bucket width {width!r}; it serves {_listed(endpoint.page_limits)}.")
    return endpoint.page_limits[width]


def checked_group_by(endpoint: Endpoint, group_by: Iterable[str]) -> tuple[str, ...]:
    """The dimensions, each known to the endpoint and named once.

    Raises:
        FixConfig: one is unknown or repeated.
    """
    names = tuple(group_by)
    for name in names:
        if name not in endpoint.dimension_names:
            raise FixConfig(f"{endpoint.name}: cannot group by {name!r}; it takes {_listed(endpoint.dimension_names)}.")
        if names.count(name) > 1:
            raise FixConfig(f"{endpoint.name}: group_by names {name!r} twice.")
    return names


def check_aligned(endpoint: Endpoint, window: Window, width: BucketWidth) -> None:
    """Refuse a window that would make partial buckets: they would land beside the whole ones under other keys.

    Raises:
        FixConfig: an end of the window is not a boundary of this bucket width.
    """
    if window.start_time % WIDTH_SECONDS[width] or window.end_time % WIDTH_SECONDS[width]:
        raise FixConfig(f"{endpoint.name} {window}: start and end must be whole {width} buckets in UTC.")


def _filter_pairs(endpoint: Endpoint, name: str, wanted: Sequence[str] | bool) -> list[tuple[str, str]]:
    if name not in endpoint.filters:
        raise FixConfig(f"{endpoint.name}: no filter {name!r}; it takes {_listed(endpoint.filters)}.")
    if endpoint.filters[name].kind == "flag":
        if not isinstance(wanted, bool):
            raise FixConfig(f"{endpoint.name}: the filter {name} takes one true or false.")
        return [(name, "true" if wanted else "false")]
    is_list = not isinstance(wanted, bool | str) and len(wanted) > 0
    if not is_list or not all(isinstance(value, str) and value for value in wanted):  # type: ignore[union-attr]
        raise FixConfig(f"{endpoint.name}: the filter {name} takes a list of texts, at least one.")
    return [(f"{name}[]", value) for value in wanted]  # type: ignore[union-attr]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
