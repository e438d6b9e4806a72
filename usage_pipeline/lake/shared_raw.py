"""Raw files of a lake that many hosts write to: where all of them have them before the commit that stands on them.

Put here what of a raw file concerns more than this host; its content, and writing it here, is landing.py's.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.lake.mirror import Mirror

_log = logging.getLogger(__name__)


def land_shared(mirror: Mirror | None, land: Callable[[], Path]) -> Path:
    """Write a raw file where every host that writes to the lake has it, before the commit that stands on it."""
    path = land()
    if mirror is not None:
        try:
            mirror.begin_writing()
            mirror.objects.put_new(mirror.key(path), path)
        except Exception:
            path.unlink(missing_ok=True)
            raise
    return path


def take_back(mirror: Mirror | None, landed: Path | None) -> None:
    """Remove a raw file whose content never reached the lake."""
    if landed is None:
        return
    landed.unlink(missing_ok=True)
    if mirror is not None:
        try:
            mirror.remove([landed])
        except UsagePipelineError as refused:  # what is to be told is why it never reached the lake
            _log.warning("%s stays at the URL, though the lake does not have it: harmless. %s", landed.name, refused)
