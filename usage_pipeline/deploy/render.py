"""Deployment files from the templates beside this file, filled with facts of this installation.

Put what is written where here; what the files say is in the templates, one folder a kind.
"""

import getpass
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings

KINDS = ("systemd", "compose", "helm")


def render(kind: str, output: Path, settings: Settings, folder: Path, *, is_replacing: bool = False) -> list[Path]:
    """Write the files of a kind and return their paths.

    Args:
        kind: one of `KINDS`.
        output: the folder to write into.
        settings: of the warehouse that is to be kept; the key is not among what is written.
        folder: where `.env` (or `usage_pipeline.toml`) is, and where the commands are to run.
        is_replacing: write over files that are there.

    Raises:
        FixConfig: there is no such kind, a path cannot stand in such a file, or a file is there already: nothing was
            written.
    """
    if kind not in KINDS:
        raise FixConfig(f"there is no kind {kind!r} of deployment: the kinds are {', '.join(KINDS)}.")
    facts = _facts(settings, folder)
    templates = files("usage_pipeline.deploy").joinpath(kind)
    texts = {output / name: Template(text).substitute(facts) for name, text in _texts(templates).items()}
    held = [path for path in texts if path.exists() and not is_replacing]
    if held:
        raise FixConfig(f"{held[0]} is there already: choose another --output, or --replace to write over it.")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _facts(settings: Settings, folder: Path) -> dict[str, str]:
    """What the templates name; of a path in a unit a space or a `%` would mean something else."""
    facts = {
        "version": version("usage-pipeline"),
        "user": getpass.getuser(),
        "folder": str(folder.resolve()),
        "program": str(Path(sys.executable).with_name("usage-pipeline")),
        "data_dir": str((folder / settings.data_dir).resolve()),
    }
    _refuse_odd(facts)
    return facts


def _refuse_odd(facts: Mapping[str, str]) -> None:
    for name, value in facts.items():
        if any(character.isspace() or character in "%\"'\\$" for character in value):
            raise FixConfig(f"{name} {value!r} has a character that deployment files read otherwise: rename it.")


def _texts(folder: Traversable, above: str = "") -> dict[str, str]:
    """The templates of a folder by their paths in it."""
    found: dict[str, str] = {}
    for one in folder.iterdir():
        if one.is_dir():
            found |= _texts(one, f"{above}{one.name}/")
        else:
            found[above + one.name] = one.read_text(encoding="utf-8")
    return dict(sorted(found.items()))
