"""What a sync asks of the system, seen by strace: raw lasts before the lake changes, and a disk that fails is told."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from usage_pipeline_tests.crashes.seen import seen
from usage_pipeline_tests.crashes.stage import EARLIER, START
from usage_pipeline_tests.crashes.works import Run
from usage_pipeline_tests.oracle.points import small
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import World, open_world

CALLS = "trace=openat,fsync,fdatasync,rename,renameat,renameat2,linkat,connect"
ROOT = Path(__file__).parents[2]
# Which calls fail, and which work says so: raw files are synced by us, the published file by DuckDB.
FAILING = {
    "fsync:error=EIO:when=1+": {"costs", "completions"},
    "fdatasync:error=EIO:when=1+": {"publishing"},
}


@pytest.fixture
def world() -> Iterator[World]:
    """A service of yesterday, where strace can be used."""
    try:
        tried = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if tried.returncode:
        pytest.skip(f"strace cannot be used here: {tried.stderr.strip()}")
    with open_world(now=EARLIER) as served:
        yield served


def _traced(world: World, data_dir: Path, *options: str) -> tuple[list[list[str]], list[str]]:
    """The errors of a small sync under strace, by kind and text, and its trace's lines."""
    trace = data_dir.with_name("trace")
    values = {
        "OPENAI_ADMIN_KEY": "sk-admin-test",
        "OPENAI_BASE_URL": world.base_url,
        "USAGE_PIPELINE_DATA_DIR": str(data_dir),
        "USAGE_PIPELINE_START_DATE": START,
        "now": EARLIER.isoformat(),
    }
    command = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "400", "-e", CALLS, *options, "-o", str(trace)]
    command += [sys.executable, "-B", "-m", "usage_pipeline_tests.crashes.traced", json.dumps(values)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), trace.read_text().splitlines()


def test_raw_lasts_before_the_lake_changes_and_all_is_written_in_the_data_folder(world: World, tmp_path: Path) -> None:
    """File synced, renamed, folders synced, and only then a table's commit; no file is made anywhere else."""
    data_dir = tmp_path / "data"
    errors, lines = _traced(world, data_dir)
    assert errors == []
    for name in ("costs", "completions"):
        landed = f"{data_dir}/raw/default/{name}/2026-11"
        commit = rf'linkat\(.*"{data_dir}/lake/usage/{name}/_delta_log/0+1\.json"'
        order = [rf"fsync\(\d+<{landed}/\.", rf'rename\("{landed}/\.', rf"fsync\(\d+<{landed}>"]
        order += [rf"fsync\(\d+<{data_dir}/raw/default/{name}>", commit]
        found = [next((at for at, line in enumerate(lines) if re.search(one, line)), None) for one in order]
        assert None not in found
        assert found == sorted(found)
    made = [re.search(r'openat\([^"]*"([^"]*)".*O_CREAT', line) for line in lines]
    places = {one[1] for one in made if one}
    assert places
    assert [place for place in places if not place.startswith(f"{data_dir}/") and place != "/dev/null"] == []


def _reached(lines: list[str]) -> set[str]:
    """The internet addresses, with ports, somebody wanted to talk to."""
    found = (re.search(r"connect\(.*sin6?_port=htons\((\d+)\).*?\"([0-9a-f.:]+)\"", line) for line in lines)
    return {f"{one[2]}:{one[1]}" for one in found if one}


def test_nobody_but_the_service_is_asked_anything(world: World, tmp_path: Path) -> None:
    """A sync talks to the service; a query talks to nobody, whatever extension or address it names."""
    data_dir = tmp_path / "data"
    errors, lines = _traced(world, data_dir)
    assert (errors, _reached(lines)) == ([], {world.base_url.removeprefix("http://").removesuffix("/v1")})
    asked = ("install spatial", "select st_point(1, 2)", "from read_parquet('https://127.0.0.1:9/a.parquet')")
    for query in (*asked, "select count(*) from usage.costs"):
        trace = tmp_path / "asked"
        command = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-o", str(trace)]
        command += [sys.executable, "-m", "usage_pipeline", "sql", query]
        environment = {**os.environ, "USAGE_PIPELINE_DATA_DIR": str(data_dir)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (query not in asked), done.stderr
        assert _reached(trace.read_text().splitlines()) == set()


@pytest.mark.parametrize("call", first_quick(*FAILING))
def test_a_disk_that_fails_is_one_clear_error_and_the_next_run_is_whole(
    world: World, tmp_path: Path, call: str
) -> None:
    """Where the disk does not keep what was written, that is said, readers see nothing of it, and nothing stays bad."""
    data_dir = tmp_path / "data"
    errors, _ = _traced(world, data_dir, "-e", f"inject={call}")
    assert {kind for kind, _ in errors} == {"LakeUnwritable"}
    assert {said.partition(":")[0].partition(" ")[0] for _, said in errors} == FAILING[call]
    assert seen(data_dir).published is None
    settings = world.settings(data_dir, USAGE_PIPELINE_START_DATE=START)
    with small():
        Run(settings=settings, now=EARLIER + timedelta(minutes=1), is_small=True).go()
    assert seen(data_dir).published is not None
