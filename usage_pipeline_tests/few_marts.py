"""A pipeline that builds a few of the marts, for tests that are about something else.

A refresh costs what its marts cost, and they are most of it: a module says by `pytestmark = pytest.mark.marts(...)`
which ones it looks at. What spans all of them (sums, checks, the demo, the lived quarter) has no mark and builds all.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from usage_pipeline import warehouse
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.marts import registry
from usage_pipeline.marts.tables import mart_schema


@contextmanager
def only_marts(*names: str) -> Iterator[None]:
    """Within the block these marts are all there are, with those that they read; blocks may be nested."""
    real, kept = registry.load_marts, set(names)
    every, shown = real(), warehouse.view_relations
    for mart in reversed(every.values()):
        if mart.name in kept:
            mart_schema(mart.name)  # the schemas of all are found together, and remembered
            kept |= mart.marts
    few = {name: every[name] for name in every if name in kept}

    def chosen() -> Mapping[str, registry.Mart]:
        return few

    def views() -> list[Relation]:
        """The views that read no mart, or one of these."""
        return [view for view in shown() if view.schema != "marts" or "focus" in few]

    with ExitStack() as stack:
        for module in [one for name, one in sys.modules.items() if name.startswith("usage_pipeline")]:
            if getattr(module, "load_marts", None) is real:
                stack.enter_context(patch.object(module, "load_marts", chosen))
        stack.enter_context(patch.object(warehouse, "view_relations", views))
        yield
