"""The wheel, as pip and uvx install it: it holds all the package needs outside the repository."""

import subprocess
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel, built as pip builds it, without network."""
    build = pytest.importorskip("hatchling.build", reason="hatchling, which builds the wheel, is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # a build hook builds what is in the working directory
        folder = tmp_path_factory.mktemp("wheel")
        return ZipFile(folder / build.build_wheel(str(folder)))


def test_every_file_of_the_package_is_in_the_wheel(wheel: ZipFile) -> None:
    """Queries, the report's template, Dagster's settings, lineage and pages too; and no test, data or setting."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "usage_pipeline"]
    files = set(subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files
    assert {".sql", ".j2", ".css", ".js", ".yaml", ".json", ".md"} <= {Path(name).suffix for name in held}


def test_the_wheel_brings_the_command_and_what_it_stands_on(wheel: ZipFile) -> None:
    """`usage-pipeline` is a command once it is installed, and every dependency is named."""
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "usage-pipeline = usage_pipeline.cli.process:run" in wheel.read(entry).decode()
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert wheel.read(metadata).decode().count("\nRequires-Dist: ") == len(wanted)
