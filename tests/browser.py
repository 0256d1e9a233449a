"""A headless Chromium for tests of pages, which opens them as a user does: from disk, without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


class Chromium:
    """Opens pages, each in a profile of its own, and hears what they complain of."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []

    @contextmanager
    def open(self, page: Path, hash: str = "", **options: Any) -> Iterator[Page]:
        """A tab with the page; `options` are those of playwright's `new_context`. At its end no page has complained."""
        wanted = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", "offline": True} | options
        context = self._browser.new_context(**wanted)
        try:
            tab = context.new_page()
            tab.set_default_timeout(60_000)
            tab.on("console", lambda message: self._hear(message.type in ("error", "warning"), message.text))
            tab.on("pageerror", lambda error: self._hear(True, str(error)))
            tab.on("request", lambda request: self._hear(not request.url.startswith("file:"), request.url))
            tab.goto(page.resolve().as_uri() + hash, wait_until="domcontentloaded")
            yield tab
        finally:
            context.close()
        assert self.complaints == []

    def _hear(self, is_complaint: bool, text: str) -> None:
        if is_complaint:
            self.complaints.append(text)


@contextmanager
def start_chromium() -> Iterator[Chromium]:
    """Only where it is installed; CI has it installed."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium; .ci/run installs it")
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=list(_FLAGS))
        try:
            yield Chromium(browser)
        finally:
            browser.close()


def look_at(tab: Page, name: str) -> None:
    """Keep a picture of the page, if WAN_TEST_SCREENSHOTS names a folder for people to look at them."""
    if folder := os.environ.get("WAN_TEST_SCREENSHOTS"):
        tab.screenshot(path=Path(folder, f"{name}.png"))
