"""What is to be computed, and how much of it at once.

Put taking work together and apart here; computing it is build.py's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from usage_pipeline.marts.fingerprints import Contents, DayPrints
from usage_pipeline.marts.registry import Mart, load_marts
from usage_pipeline.marts.spark import OrganizationDay

_MOST_ROWS = 200_000  # that a mart is computed from at once


@dataclass(frozen=True, slots=True)
class Task:
    """A mart of an organization that is out of date: the days that changed, with what they are made of now."""

    mart: Mart
    organization: str
    changed: DayPrints
    has_before: bool

    def days(self, contents: Contents) -> list[date]:
        """The days to compute."""
        return sorted(contents.days[self.organization] if self.mart.is_whole else self.changed)


def groups(tasks: list[Task], contents: Contents, rows_of: Mapping[OrganizationDay, int]) -> list[list[Task]]:
    """The tasks mart by mart; those of the same mart and days together, as many as fit into memory.

    A query to plan and a commit to write cost more than the rows of a day of most organizations.
    """
    order = list(load_marts())
    found: list[list[Task]] = []
    open_groups: dict[tuple[str, bool, tuple[date, ...]], tuple[list[Task], int]] = {}  # and their rows
    for task in sorted(tasks, key=lambda one: order.index(one.mart.name)):
        days = tuple(task.days(contents))
        own = sum(rows_of.get((task.organization, day), 0) for day in days)
        key = (task.mart.name, task.has_before, days)
        group, rows = open_groups.get(key, ([], 0))
        if not group or rows + own > _MOST_ROWS:
            group, rows = [], 0
            found.append(group)
        group.append(task)
        open_groups[key] = (group, rows + own)
    return found


def portions(
    mart: Mart, organizations: Collection[str], days: list[date], rows_of: Mapping[OrganizationDay, int]
) -> list[list[date]]:
    """The days, in order, as many at a time as fit into memory together; all at once where the mart looks over days."""
    found: list[list[date]] = [[]]
    rows = 0
    for day in days:
        own = sum(rows_of.get((one, day), 0) for one in organizations)
        if rows + own > _MOST_ROWS and found[-1] and not mart.is_whole:
            found.append([])
            rows = 0
        found[-1].append(day)
        rows += own
    return found
