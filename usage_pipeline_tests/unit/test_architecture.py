"""The structure holds: imports point down, each library has one door, files stay small, everything is described."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "usage_pipeline"
MODULES = sorted(ROOT.rglob("*.py"))

# The storeys of DESIGN's floors, lowest first: a module may import from its own part or from parts further down.
STOREYS = (
    ("errors", "endpoints", "memory", "progress"),
    ("windows", "name_lists", "redaction", "spool"), ("setting_checks",),  # floor 0
    ("records", "settings"), ("organizations",),
    ("api", "lake"), ("simulator", "marts"),  # floor 1
    ("plan", "warehouse", "status", "guard", "history", "carried", "names", "explain", "verify"),  # floor 2
    ("endpoint_sync", "replay", "check", "exports"), ("sync",),
    ("sync_many", "refetch", "name_repair", "totals", "first_look", "report", "deploy"),
    ("repairs",), ("doctor", "upkeep"),
    ("defs",), ("cli", "definitions"), ("__main__",),  # floor 3
)  # fmt: skip
FLOORS = {part: storey for storey, parts in enumerate(STOREYS) for part in parts}

# Library -> the parts (or single modules) that may import it.
DOORS = {
    "dagster": {"defs", "definitions"},
    "dagster_webserver": {"defs"},
    "dagster_celery": {"defs"},
    "dagster_k8s": {"defs"},
    "dagster_postgres": set(),  # named in dagster.yaml alone
    "httpx": {"api"},
    "starlette": {"api"},
    "uvicorn": {"api"},
    "duckdb": {"lake", "marts"},
    "deltalake": {"lake", "marts"},
    "obstore": {"lake/objects"},
    "genai_prices": {"marts"},
    "pyspark": {"marts/spark"},
    "py4j": {"marts/spark"},
    "sqlglot": {"marts/spark"},
    "typer": {"cli"},
    "rich": {"cli"},
    "pydantic_settings": {"settings"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "jinja2": {"report"},
}


def _part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def _ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_imports_point_down(path: Path) -> None:
    """A module imports only from its own part and from lower floors."""
    if path == ROOT / "__init__.py":
        return
    own = _part(path)
    for line, name in _imports(path):
        if name.startswith("usage_pipeline."):
            other = name.split(".")[1]
            assert other == own or FLOORS[other] < FLOORS[own], f"{path}:{line} imports {name}: that looks up"


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_each_library_has_one_door(path: Path) -> None:
    """A library is imported only by the parts that are its door."""
    for line, name in _imports(path):
        allowed = DOORS.get(name.split(".")[0])
        inside = {_part(path), str(path.relative_to(ROOT)).removesuffix(".py")}
        assert allowed is None or inside & allowed, f"{path}:{line} imports {name}: its door is {allowed}"


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_files_and_functions_stay_small(path: Path) -> None:
    """No file is over 300 lines, no function over 60."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300, path
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            assert size <= 60, f"{path}:{node.lineno} {node.name} has {size} lines"


@pytest.mark.parametrize("path", sorted(ROOT.parent.glob("usage_pipeline_tests/**/test_*.py")), ids=lambda p: p.name)
def test_every_test_says_in_a_sentence_what_it_shows(path: Path) -> None:
    """Each test function has a docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no sentence"


def test_the_top_level_is_as_the_owner_fixed_it() -> None:
    """Besides dotfiles the repository holds exactly the agreed files and folders."""
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT.parent, capture_output=True, text=True, check=True).stdout
    tops = {line.split("/")[0] for line in listed.splitlines() if not line.startswith(".")}
    assert tops <= {"pyproject.toml", "README.md", "workspace.yaml", "usage_pipeline", "usage_pipeline_tests", "data"}


def test_no_pickle_eval_or_shell_is_used() -> None:
    """Nothing in the package can run code from data: no pickle, eval, exec or shell."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path}:{node.value.lineno} runs a shell")
        assert "pickle" not in {name.split(".")[0] for _, name in _imports(path)}, path
