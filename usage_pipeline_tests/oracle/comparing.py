"""Comparing what is seen with what a world says, and telling the difference in lines people can read."""

from collections import Counter

from usage_pipeline_tests.oracle.memory import Row, View, World


def agrees(world: World, seen: View | None) -> bool:
    """Whether the published file is that of the world."""
    if seen is None or world.shown is None:
        return seen is None and world.shown is None
    if world.restated is None:  # nor does the order in which raw was applied tell which read was first
        seen = {**seen, "meta.sync_log": _unlabelled(seen["meta.sync_log"])}
        shown = {**world.shown, "meta.sync_log": _unlabelled(world.shown["meta.sync_log"]), "meta.restatements": None}
    else:
        shown = world.shown
    return all(seen[name] == held for name, held in shown.items() if held is not None)


def _unlabelled(log: Counter[Row]) -> Counter[Row]:
    return Counter(row[:-1] for row in log.elements())


def difference(world: World, seen: View | None) -> str:
    """What there is and should not be, and what should be and is not."""
    if seen is None or world.shown is None:
        return f"published: {seen is not None}, expected: {world.shown is not None}"
    lines = []
    for name, held in world.shown.items():
        if held is not None and seen[name] != held:
            there, expected = ((found.items() if hasattr(found, "items") else found) for found in (seen[name], held))
            lines += [f"{name} has     {row}" for row in there if row not in expected][:5]
            lines += [f"{name} has not {row}" for row in expected if row not in there][:5]
    return "\n".join(lines)
