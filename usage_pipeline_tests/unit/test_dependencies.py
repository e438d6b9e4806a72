"""What the package stands on: declared, bounded, and no more than is imported."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Halves of others, in packages of their own: those name the versions they go with.
HALVES = {"pydantic_core": "pydantic", "py4j": "pyspark", "celery": "dagster-celery"}
EXTRAS = ("scale", "spark", "store")
# Packages whose module has another name.
MODULES = {"vl-convert-python": "vl_convert"}


# What the extra brings without being imported: Dagster loads it where dagster.yaml asks for Postgres, or a bound alone.
NOT_IMPORTED = {"dagster-postgres", "sqlalchemy"}


def _declared(extra: str | None = None) -> dict[str, str]:
    """Every direct dependency, or those of an extra, with its bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    found = (re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?(.*)", line) for line in lines)
    return {one[1]: one[2] for one in found if one is not None}


def _declared_by_extras() -> dict[str, str]:
    return {name: bounds for extra in EXTRAS for name, bounds in _declared(extra).items()}


def _modules(names: Iterable[str]) -> set[str]:
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def _imported() -> set[str]:
    """The top-level names the package imports, without its own and the standard library's."""
    names = set()
    for path in (ROOT / "usage_pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    return {name.partition(".")[0] for name in names} - {"usage_pipeline", *sys.stdlib_module_names}


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    """No release that nobody tried comes in by itself, and none too old for what is used."""
    for name, bounds in (_declared() | _declared_by_extras()).items():
        assert re.fullmatch(r"==[0-9.]+|>=[0-9.]+,<[0-9.]+", bounds), f"{name}{bounds}"


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    """The package stands on no dependency of a dependency, and carries none it does not use; so do its extras."""
    of_extras = _modules(_declared_by_extras().keys() - NOT_IMPORTED)
    assert _imported() - HALVES.keys() == _modules(_declared()) | of_extras
    for half, whole in HALVES.items():
        assert any(re.match(rf"{half.replace('_', '-')}[<>=]", one) for one in requires(whole) or ()), half
