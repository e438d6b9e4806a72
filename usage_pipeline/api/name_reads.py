"""Reading a list of names to its end, of every project where the service has one list per project.

Put the rules of following `after` here; one request's reliability is transport.py's, what a body means
name_models.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from usage_pipeline.api.error_answers import Purpose
from usage_pipeline.api.name_models import NamePage, listed_names, parse_name_page
from usage_pipeline.api.together import together
from usage_pipeline.api.transport import Tally, Transport
from usage_pipeline.errors import BadPayload, IncompleteListing, NotFound, RequestRefused
from usage_pipeline.name_lists import NAME_LISTS, NAME_PAGES, NameList
from usage_pipeline.records import NamesRead, RawPage

_RESTARTS = 2
_IDLE_PAGES = 16  # pages that bring no new id
_MOST_PAGES = 10_000  # a million objects: no organization is that large, an endless list is


async def read_list(transport: Transport, names: NameList, fetched_at: datetime) -> NamesRead:
    """The complete list; a failure in any part is the failure of the whole.

    Raises:
        UsagePipelineError: see `UsageClient.read_names`.
    """
    tally = Tally()
    projects = await _project_ids(transport, names, tally) if names.is_per_project else [None]
    read = _single if names.is_single else _to_the_end
    walks = await together([read(transport, names, project, tally) for project in projects])
    pages = [page for walk in walks for page in walk.pages]
    items, drift = listed_names(names, pages, where=names.label)
    if names.is_never_empty and not items:
        raise IncompleteListing(f"{names.label}: the list came empty, which cannot be; nothing was changed, run again.")
    return NamesRead(
        list_name=names.name,
        fetched_at=fetched_at,
        pages=pages,
        items=items,
        requests=tally.requests,
        retries=tally.retries,
        notes=tuple(dict.fromkeys(note for walk in walks for note in walk.notes)),
        drift=drift,
    )


async def _project_ids(transport: Transport, names: NameList, tally: Tally) -> list[str | None]:
    """Every project, archived ones too: their keys have spent as well."""
    projects = NAME_LISTS["projects"]
    where = f"{names.label} (the projects)"
    walk = await _to_the_end(transport, projects, None, tally, purpose=_purpose(names), where=where)
    ids: list[str | None] = []
    for item in listed_names(projects, walk.pages, where=where)[0]:
        if not item.id.strip("."):
            raise BadPayload(f"{names.label}: {item.id!r} cannot be a project's id; nothing of this read was kept.")
        ids.append(item.id)
    return ids


@dataclass(slots=True)
class _Walk:
    """One pass over a list from its first page on."""

    where: str
    pages: list[RawPage] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    cursors: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    idle: int = 0

    def take(self, raw: RawPage, page: NamePage) -> str | None:
        """Take in a page; the id the next one comes after, None at the end."""
        self.pages.append(raw)
        before = len(self.ids)
        self.ids.update(item["id"] for item in page.items)
        self.idle += len(self.ids) == before
        if not page.has_more:
            return None
        if page.after is None:
            raise self._wrong("has_more=true came with nothing to go on after")
        if page.after in self.cursors:
            raise self._wrong("the list goes on after an id it had gone on after before: it would never end")
        if self.idle > _IDLE_PAGES or len(self.pages) >= _MOST_PAGES:
            raise self._wrong(f"{self.idle} pages brought nothing new and still more were promised")
        self.cursors.add(page.after)
        return page.after

    def _wrong(self, problem: str) -> IncompleteListing:
        return IncompleteListing(
            f"{self.where}: {problem} (page {len(self.pages)}); nothing of this read was kept, run again."
        )


async def _to_the_end(
    transport: Transport,
    names: NameList,
    project: str | None,
    tally: Tally,
    purpose: Purpose | None = None,
    where: str | None = None,
) -> _Walk:
    """All pages; an `after` the service no longer takes (the object was deleted meanwhile) restarts, twice at most."""
    path = _path(names, project)
    where = where or _where(names, project)
    restarts = 0
    while True:
        walk = _Walk(where)
        try:
            after: str | None = None
            while not walk.pages or after is not None:
                answer = await transport.get(
                    path,
                    _parameters(names, after),
                    where=where,
                    read=lambda body: parse_name_page(names, body, where=where),
                    tally=tally,
                    purpose=purpose or _purpose(names),
                )
                after = walk.take(answer.raw, answer.value)
        except RequestRefused:
            if not walk.pages or restarts == _RESTARTS:
                raise
        else:
            break
        restarts += 1
    if restarts:
        walk.notes.append(f"{where}: the list changed while it was read; read again from the first page.")
    return walk


async def _single(transport: Transport, names: NameList, project: str | None, tally: Tally) -> _Walk:
    """The one object of a path; none where the service finds nothing there."""
    walk = _Walk(_where(names, project))
    try:
        answer = await transport.get(
            _path(names, project),
            (),
            where=walk.where,
            read=lambda body: parse_name_page(names, body, where=walk.where),
            tally=tally,
            purpose=_purpose(names),
        )
    except NotFound:
        return walk
    walk.pages.append(answer.raw)
    return walk


def _path(names: NameList, project: str | None) -> str:
    return names.path_for(None if project is None else quote(project, safe=""))


def _where(names: NameList, project: str | None) -> str:
    return names.label if project is None else f"{names.label} of {project:.60}"


def _parameters(names: NameList, after: str | None) -> Sequence[tuple[str, str]]:
    pairs = [*names.parameters.items(), ("limit", str(NAME_PAGES.maximum))]
    return pairs if after is None else [*pairs, ("after", after)]


def _purpose(names: NameList) -> Purpose:
    """A key may be let into one list and not into another."""
    if names.is_single:
        needs = (
            "Spend limits need an admin key that may read the organization's management (api.management.read); budgets "
            "can be written in budgets.csv instead."
        )
        return Purpose(name=names.label, needs=needs)
    return Purpose(
        name=names.label,
        needs="Names need an admin key that may read the organization's management lists (api.management.read); "
        "usage and costs do without, their ids stay without names.",
    )
