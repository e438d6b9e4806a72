"""What the package stands on: declared, bounded, and no more than is imported."""

import ast
import re
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Half of pydantic, in a package of its own: pydantic names the exact version.
HALVES = {"pydantic_core"}
# Packages whose module has another name.
MODULES = {"vl-convert-python": "vl_convert"}


def _declared() -> dict[str, str]:
    """Every direct dependency with its bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", line) for line in project["dependencies"])
    return {one[1]: one[2] for one in found if one is not None}


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
    for name, bounds in _declared().items():
        assert re.fullmatch(r"==[0-9.]+|>=[0-9.]+,<[0-9.]+", bounds), f"{name}{bounds}"


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    """The package stands on no dependency of a dependency, and carries none it does not use."""
    assert _imported() - HALVES == {MODULES.get(name, name.replace("-", "_")) for name in _declared()}
    assert any(one.startswith("pydantic-core==") for one in requires("pydantic") or ())
