"""A disk that fills: each run ends with one clear error and readers keep what they had, until there is room again."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from usage_pipeline.errors import LakeUnwritable
from usage_pipeline_tests.crashes.seen import leftovers, seen
from usage_pipeline_tests.crashes.stage import EARLIER, LATER, START
from usage_pipeline_tests.crashes.works import Run
from usage_pipeline_tests.oracle.points import small
from usage_pipeline_tests.world import open_world

MORE_ROOM = 80 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_changes_nothing(disk: Path) -> None:
    """However far a run comes, the error names the disk and readers keep what they had; with room the next is whole.

    Each run has a little more room than the one before it and goes on where that failed: at raw files, the lake's
    tables, the marts, the published file.
    """
    filler, failed = disk / "filler", []
    with open_world(now=EARLIER) as world, small():
        settings = world.settings(disk / "data", USAGE_PIPELINE_START_DATE=START)
        run = Run(settings=settings, now=EARLIER, is_small=True)
        run.go()
        world.clock.set(LATER)
        old = seen(settings.data_dir)
        for number in count():
            filler.write_bytes(bytes(max(0, _free(disk) - number * MORE_ROOM)))
            report = replace(run, now=LATER + timedelta(seconds=number)).sync()
            errors = [one.error for one in report.failed] + [report.refresh_error] * (report.refresh_error is not None)
            filler.unlink()
            if not errors:
                break
            assert {type(error) for error in errors} == {LakeUnwritable}, [str(error) for error in errors]
            assert all("No space left" in str(error) and "\x1b" not in str(error) for error in errors)
            assert seen(settings.data_dir).published == old.published
            failed += [one.endpoint for one in report.failed] or ["publishing"]
        assert set(failed) == {"costs", "completions", "publishing"}
        healed = seen(settings.data_dir)
        fresh = world.settings(disk / "fresh", USAGE_PIPELINE_START_DATE=START)
        replace(run, settings=fresh, now=LATER).go()
        assert healed.lake == seen(fresh.data_dir).lake
        assert leftovers(settings.data_dir)["temporary file"] == 0


def _free(disk: Path) -> int:
    free = os.statvfs(disk)
    return free.f_bavail * free.f_frsize
