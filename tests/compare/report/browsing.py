"""Open pages in a headless Chromium, and ask axe about them."""

import time
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe


@contextmanager
def opened(browser, path, **look):
    """Open a page, which must ask for nothing else and complain about nothing."""
    context = browser.new_context(**look)
    tab = context.new_page()
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    context.close()


def wait_until(tab, condition, arg=None, timeout_s=60):
    """Wait for a condition, a JavaScript expression or function.

    `wait_for_function` asks again inside the page, where the page's Content Security Policy forbids it to evaluate.
    """
    end_s = time.monotonic() + timeout_s
    while not tab.evaluate(condition, arg):
        assert time.monotonic() < end_s, condition
        tab.wait_for_timeout(50)


def violations(tab):
    """Rules of axe that a page breaks, with the element."""
    found = Axe().run(tab).response["violations"]
    return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]


def check_tab_reaches_all(tab, controls):
    """Check that the Tab key reaches every visible element of a CSS selector."""
    total = sum(element.is_visible() for element in tab.locator(controls).all())
    reached = set()
    for _ in range(total + 2):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate(f"[...document.querySelectorAll({controls!r})].indexOf(document.activeElement)"))
    assert len(reached - {-1}) == total
