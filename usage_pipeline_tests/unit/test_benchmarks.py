"""Every benchmark runs, at its smallest size, and prints its table; nothing is said of how long it took."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from usage_pipeline_tests.pages import ENGINEERS, ROOT, read

_SMALLEST = {
    "__main__": ["--only", "usage_pipeline", "--groups", "1"],
    "files": ["--days", "3", "--rows", "5"],
    "history": ["--million", "0", "0.002", "--groups", "1"],
    "marts": ["--days", "2", "--million", "0.001", "--groups", "1"],
    "organizations": ["--organizations", "1", "--endpoint", "costs"],
    "overhead": ["--days", "1"],
    "publish": ["--days", "2"],
    "start": ["--times", "1"],
}
_HELPERS = {"__init__", "contenders", "job", "measure", "parts", "server", "serving", "stored", "table", "work"}
_FOLDER = ROOT / "usage_pipeline_tests" / "benchmarks"


def test_every_benchmark_is_documented_and_has_a_smallest_size() -> None:
    """A module of the folder is a benchmark that engineers.md tells how to run, or one of the helpers."""
    assert {path.stem for path in _FOLDER.glob("*.py")} == {*_SMALLEST, *_HELPERS}
    for name in _SMALLEST:
        command = f"python -m usage_pipeline_tests.benchmarks{'' if name == '__main__' else f'.{name}'}"
        assert f"{command} " in read(ENGINEERS), command


@pytest.mark.slow
@pytest.mark.parametrize("name", _SMALLEST)
def test_it_prints_a_table_and_writes_it(name: str, tmp_path: Path) -> None:
    """Run as a command it ends well, prints a row per measurement, and writes the same rows as JSON."""
    module = f"usage_pipeline_tests.benchmarks.{name}"
    written = tmp_path / "results.json"
    command = [sys.executable, "-m", module, *_SMALLEST[name], "--json", str(written)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(written.read_text(encoding="utf-8"))
    assert results["machine"]
    printed = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(printed) == 1 + len(results["rows"]) > 1
    assert "WRONG" not in done.stdout
