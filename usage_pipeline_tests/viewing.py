"""A browser, and pages that note what they should not do.

Put starting and opening here; no test and no assertion. Without Debian's chromium, tests that want one are skipped.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# Chromium as root in a container, and without looking for anything on the network by itself.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WEST = "America/Los_Angeles"  # where a day in UTC is not the day


@dataclass
class Seen:
    """An open page, what it logged, and what it asked for beside itself."""

    page: Page
    logged: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Viewer:
    """Opens files as people do."""

    browser: Browser

    @contextmanager
    def open(self, path: Path, *, width: int = 1280, scheme: str = "light", **more: Any) -> Iterator[Seen]:
        """A file, drawn whole, in a window of this width."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, timezone_id=WEST, **more
        )
        try:
            page = context.new_page()
            seen = Seen(page)
            page.on("console", lambda message: seen.logged.append(message.text))
            page.on("pageerror", lambda error: seen.logged.append(str(error)))
            page.on("dialog", lambda dialog: (seen.logged.append(dialog.message), dialog.dismiss()))
            page.on("request", lambda request: seen.requested.append(request.url))
            page.goto(path.as_uri())
            if more.get("java_script_enabled", True):
                page.wait_for_selector("html[data-drawn]", state="attached")
            yield seen
        finally:
            context.close()


@contextmanager
def chromium() -> Iterator[Viewer]:
    """Debian's chromium, while the block runs.

    Playwright keeps an event loop running in this thread meanwhile: nothing inside may call `asyncio.run`, as a sync
    does, so what is looked at is made before.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield Viewer(browser)
        browser.close()
