"""Chargeback tags: `tags.csv` in the data folder says which team and cost centre a project, key or user belongs to.

Put reading the file into `dims.tags` here; which tag a cost gets is decided in cost_by_team.sql.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from usage_pipeline.lake.dims import TAGS, read_dim, replace_dim
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.user_files import read_user_csv

TAGS_FILE = "tags.csv"
_EXAMPLE = "kind,match,team,cost_center,valid_from,valid_to / project,proj_search*,Search,CC-100,2026-01-01,"
_ESCAPED = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%"})

_Text = Annotated[str, Field(min_length=1, max_length=256)]


class Tag(BaseModel):
    """One line of the file. Days are UTC; `valid_to` is the day before which it ends. Without days it always holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    kind: Literal["project", "api_key", "user"]
    match: _Text
    team: _Text
    cost_center: _Text | None = None
    valid_from: date | None = None
    valid_to: date | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.valid_from is not None and self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from: it is the first day the tag no longer holds")
        return self


def read_tags(path: Path) -> list[tuple[int, Tag]]:
    """The file's lines with their numbers, which say whose turn it is where several fit; none where there is no file.

    Raises:
        FixConfig: a line is wrong; the message names file, line, column and what to write.
    """
    return read_user_csv(path, Tag, example=_EXAMPLE)


def load_tags(lake: Lake, data_dir: Path) -> bool:
    """Make `dims.tags` hold the file's lines; False where it already did.

    Raises:
        FixConfig: the file is wrong; the table keeps what it had.
    """
    rows = [_row(line, tag) for line, tag in read_tags(data_dir / TAGS_FILE)]
    if not rows and not read_dim(lake, TAGS).num_rows:
        return False
    return replace_dim(lake, TAGS, pa.Table.from_pylist(rows, schema=TAGS.schema))


def _row(line: int, tag: Tag) -> dict[str, object]:
    pattern = tag.match.translate(_ESCAPED) if "*" in tag.match else None
    return {"line": line, "pattern": pattern, **tag.model_dump()}
