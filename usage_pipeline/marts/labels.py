"""Ids as people know them: the last name of a project, key or user beside its id, in messages.

Put wording of ids for people here; the name valid on a day, which marts need, is derived_names.py's.
"""

from collections.abc import Mapping

from usage_pipeline.lake.dims import DIMS, read_dim
from usage_pipeline.lake.store import Lake

# what an id is of -> the dimension that names it
_DIMENSIONS = {"project": "projects", "api_key": "api_keys", "user": "users"}


def last_names(lake: Lake, organization: str, kind: str) -> dict[str, str]:
    """The last known name of every project, api_key or user; of other kinds of ids none has a name of its own."""
    if kind not in _DIMENSIONS:
        return {}
    rows = read_dim(lake, DIMS[_DIMENSIONS[kind]]).sort_by("valid_from").to_pylist()
    return {row["id"]: row["name"] for row in rows if row["organization"] == organization and row["name"]}


def labelled(identity: str | None, kind: str, names: Mapping[str, str]) -> str:
    """`Search (proj_abc)`; the id alone where it has no name; `(no project)` where there is no id."""
    if identity is None:
        return f"(no {kind.replace('_', ' ')})"
    name = names.get(identity)
    return f"{name} ({identity})" if name and name != identity else identity
