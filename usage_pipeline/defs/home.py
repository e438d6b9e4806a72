"""Dagster's home: the folder of its instance inside the data folder, with the settings file we ship.

Put its creation and upkeep here; what the settings say is in dagster.yaml, with reasons.
"""

import hashlib
import logging
from importlib.resources import files
from pathlib import Path

from usage_pipeline.lake.links import refuse_linked_path

_FILE = "dagster.yaml"
_PROPOSAL = "dagster.yaml.new"
_WRITTEN = ".dagster.yaml.sha256"  # of the version we wrote last: a file that still has it was not edited

_log = logging.getLogger(__name__)


def prepare_home(data_dir: Path) -> Path:
    """Create the folder to use as DAGSTER_HOME, or bring its settings file up to date, and return its absolute path.

    A file someone edited stays as it is; a newer one of ours is then put beside it, and a warning says so.
    """
    refuse_linked_path(data_dir.resolve(), home := data_dir.resolve() / "dagster")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)  # runs and their metadata tell what a company spends
    shipped = files("usage_pipeline.defs").joinpath(_FILE).read_bytes()
    present = home / _FILE
    held = present.read_bytes() if present.exists() else None
    written = _read(home / _WRITTEN)
    if held == shipped:
        return home
    if held is None or _digest(held) == written:
        _write(present, shipped)
        _write(home / _WRITTEN, _digest(shipped).encode())
    elif written != _digest(shipped) and _read(home / _PROPOSAL) != shipped.decode():
        _write(home / _PROPOSAL, shipped)
        _log.warning("%s was edited, so it stays; what this version ships is in %s.", present, home / _PROPOSAL)
    return home


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _write(path: Path, content: bytes) -> None:
    """Put the file in place whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
