"""Real headless Chromium for tests of the page; a module imports the fixtures it wants by name."""

import shutil
from collections.abc import Iterator

import pytest

STATIC_MISSING = "the viewer's JavaScript is not built (make viewer)"
FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 150_000
"""No page waits this long on an idle machine; a crowded one may."""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """One browser for all tests of a module."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser, url: str):
    """A fresh page on the viewer; `page.foreign` lists requests that left the machine, `page.errors` what broke."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.foreign, page.errors = [], []
    page.on("request", lambda request: None if _is_own(request.url, url) else page.foreign.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(url, wait_until="domcontentloaded")
    return page


def open_tab(page, name: str) -> None:
    """Open a tab of the page and wait until its fields take input."""
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_function("!document.querySelector('#s3-tabs [inert]')")


def _is_own(address: str, url: str) -> bool:
    return address.startswith((url, "data:", "blob:"))
