"""A bucket of very many groups: every row arrives, and memory grows with the groups, not faster."""

import json
import os
import subprocess
import sys
from pathlib import Path

# 100,000 is what is promised: `WIDE_BUCKET_GROUPS=100000` tries it.
GROUPS = int(os.environ.get("WIDE_BUCKET_GROUPS", "20000"))
_BYTES_PER_GROUP = 16 * 1024


def test_c21_a_very_wide_bucket_arrives_whole_in_bounded_memory(tmp_path: Path) -> None:
    """Read, normalized, replaced and published, tens of thousands of groups take a few kilobytes each at most."""
    command = [sys.executable, "-m", "usage_pipeline_tests.faults.wide", str(tmp_path / "data"), str(GROUPS)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == [[GROUPS, GROUPS, GROUPS * (GROUPS - 1) // 2]]
    assert found["bytes"] < GROUPS * _BYTES_PER_GROUP
