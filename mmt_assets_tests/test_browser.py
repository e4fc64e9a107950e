"""The browser that other tests look at pages with hears what it should."""

from pathlib import Path

import pytest

from mmt_assets_tests.servers import browser
from mmt_assets_tests.servers.browser import WatchedPage, require_chromium

PAGE = """<!doctype html><title>t</title><h1>Seen</h1><img src="data:,"><img src="http://example.com/x.png">
<script>console.error("told"); setTimeout(() => { throw new Error("thrown") })</script>"""


def test_errors_and_requests_that_leave_a_page_are_heard(page: WatchedPage, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    with page.page.expect_event("pageerror"):
        page.page.goto(file.as_uri())
    assert page.page.inner_text("h1") == "Seen"
    assert page.requests[0] == file.as_uri()
    assert page.network_requests == page.outside_requests == ["http://example.com/x.png"]
    told = "\n".join(page.errors)
    assert "told" in told
    assert "thrown" in told
    # Not even the name was looked up.
    assert "net::ERR_NAME_NOT_RESOLVED" in told


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_without_a_browser_tests_are_skipped_or_fail_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("MMT_REQUIRE_EMULATORS", required)
    monkeypatch.setattr(browser, "chromium", lambda: None)
    with pytest.raises(outcome, match="apt-get install chromium"):
        require_chromium()
