"""A browser for the tests of pages."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@pytest.fixture(scope="package")
def browser():
    """The system's Chromium or Chrome, or Playwright's own; without one these tests are skipped, but not in CI."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if found is None:
            message = f"no browser: {', '.join(NAMES)} are not on PATH, and `playwright install chromium` was not run"
            assert not os.environ.get("CI"), message
            pytest.skip(message)
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()
