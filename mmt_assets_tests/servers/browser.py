"""A page in Debian's Chromium that hears every error on its console and every request that it makes.

While a page is open, its thread has a running event loop: `asyncio.run` (Dagster's GraphQL client calls it) belongs
before the page is opened, after it is closed, or in another thread. A test that needs it in between opens pages for
a while with `open_browser` instead of the fixtures.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from mmt_assets_tests.servers.required import missing

HOW_TO_INSTALL = "apt-get install chromium (as root, `make browser` does it)"
# Debian's wrapper turns them on again by /etc/chromium.d; nothing but loopback can be resolved in any case.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_TIMEOUT_MS = 60_000
# Schemes whose content is in the page or beside it on the disk.
_WITHOUT_NETWORK = ("file", "data", "blob", "about")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


_LAPTOP = {"viewport": {"width": 1280, "height": 800}}


@dataclass
class WatchedPage:
    """A page and what it did.

    Attributes:
        page: Playwright's page.
        errors: Errors on the console and uncaught exceptions, in order.
        requests: Addresses of all requests, the page's own included.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def network_requests(self) -> list[str]:
        """Requests that need a network, if only loopback's."""
        return [url for url in self.requests if urlsplit(url).scheme not in _WITHOUT_NETWORK]

    @property
    def outside_requests(self) -> list[str]:
        """Requests to other machines."""
        return [url for url in self.network_requests if urlsplit(url).hostname not in _LOOPBACK]


Browse = Callable[..., WatchedPage]


def chromium() -> str | None:
    """Path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def require_chromium() -> str:
    """Path of Chromium; without one the test is skipped, or fails where emulators are required."""
    return chromium() or missing("Chromium", HOW_TO_INSTALL)


@contextmanager
def open_browser() -> Iterator[Browse]:
    """Start a browser; what it gives opens pages, each in a fresh profile.

    Its keywords are those of Playwright's `new_context`: viewport, color_scheme, is_mobile, locale, ...
    """
    executable = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))

        def browse(**context: Any) -> WatchedPage:
            watched = WatchedPage(browser.new_context(**{**_LAPTOP, **context}).new_page())
            _watch(watched)
            return watched

        try:
            yield browse
        finally:
            browser.close()


def _watch(watched: WatchedPage) -> None:
    context = watched.page.context
    context.set_default_timeout(_TIMEOUT_MS)
    context.on("request", lambda request: watched.requests.append(request.url))
    context.on("console", lambda said: watched.errors.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda error: watched.errors.append(str(error.error)))


@pytest.fixture
def browse() -> Iterator[Browse]:
    """Opens pages of one browser, see `open_browser`."""
    with open_browser() as browse:
        yield browse


@pytest.fixture
def page(browse: Browse) -> WatchedPage:
    """A page as on a laptop."""
    return browse()
