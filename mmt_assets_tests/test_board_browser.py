"""The board as people see it: in a real browser, from a file, without any network."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

from mmt_assets.board import save_board
from mmt_assets_tests.board_tables import BoardTables, add_scores, every_status, page_of
from mmt_assets_tests.servers.browser import Browse, WatchedPage, open_browser

HOSTILE = (
    "<img src=x onerror=console.error('ran')>",
    "</script><script>console.error('ran')</script>",
    "\"><svg onload=console.error('ran')>",
    "{{ 7 * 7 }} ${7 * 7} <!-- ]]> &lt;b&gt;",
    '=HYPERLINK("http://example.com","click")',
)
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
SHOWN = "#board tbody tr[data-index]:visible"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
# WCAG 2.2: relative luminance, and the contrast of every visible text with what lies behind it.
CONTRASTS = """() => {
  const parse = color => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].filter(node => node.nodeType === 3 && node.textContent.trim());
    if (!own.length || !element.checkVisibility() || element.closest("svg, option, script, style, noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${element.className} ${contrast.toFixed(2)} ${own[0].textContent.trim()}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browse() -> Iterator[Browse]:
    """One browser for all tests of this file; pages are fresh."""
    with open_browser() as browse:
        yield browse


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of every status, with hostile names among the artists."""
    directory = tmp_path_factory.mktemp("board")
    tables = BoardTables(directory / "board.duckdb")
    every_status(tables)
    for number, name in enumerate(HOSTILE):
        tables.add_concert(f"h{number}", artist=name, city=name, venue=name, comparables="done-1", method_reason=name)
    add_scores(tables, [(7, 0.061, 0.058), (30, 0.12, 0.19)])
    path = directory / "pages" / "outlook.html"
    save_board(page_of(tables.board(), is_sample=True, dagster_url="http://127.0.0.1:3000"), str(path))
    return path


@pytest.fixture
def opened(browse: Browse, place: Path) -> Iterator[WatchedPage]:
    """The board on a laptop. Whatever a test does: no error, and no request but the page's own."""
    watched = browse()
    watched.page.goto(place.as_uri())
    yield watched
    assert watched.errors == []
    assert watched.network_requests == []
    watched.page.context.close()


def concerts(watched: WatchedPage) -> list[str]:
    """Ids of the concerts shown, in their order."""
    return watched.page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById("data").textContent);
          return [...document.querySelectorAll("#board tbody tr[data-index]")]
            .filter(row => row.checkVisibility()).map(row => data.concerts[row.dataset.index][0]);
        }"""
    )


def cell(watched: WatchedPage, artist: str, label: str) -> str:
    """Text of a concert's cell."""
    row = watched.page.locator(SHOWN).filter(has=watched.page.get_by_text(artist, exact=True))
    return " ".join(row.locator(f"[data-label='{label}']").inner_text().split())


def test_a_row_says_everything_in_text(opened: WatchedPage) -> None:
    assert cell(opened, "Zeta", "Show") == "9 Apr 2026 in 30 days"
    assert cell(opened, "Zeta", "Sold and expected") == "400 sold of 1,000 expected 500 (450 to 550)"
    assert cell(opened, "Zeta", "Pace") == f"{MINUS}120 {MINUS}23%"
    assert cell(opened, "Zeta", "Status") == "Behind 120 tickets (23%) behind comparable concerts."
    assert cell(opened, "Artist soon", "Sell-out") == "72% 1 Apr"
    assert cell(opened, "Artist moved", "Change") == "+200 sold 10, 4 expected"
    assert cell(opened, "Artist gone", "Sell-out") == DASH
    assert opened.page.title() == "Concert outlook, 10 Mar 2026"
    text = opened.page.inner_text("body")
    assert "simulated" in text
    assert "Sales data is flowing" in text
    assert "10 Mar 2026, 20:15 UTC" in text
    assert "1 of makes (no fan_id) on 10 Mar 2026" in text


def test_sorting_by_headings_and_by_the_list(opened: WatchedPage) -> None:
    first = concerts(opened)
    assert first[:3] == ["still", "lower", "low"]
    head = opened.page.get_by_role("columnheader", name="Pace")
    head.get_by_role("button").click()
    assert concerts(opened)[:2] == ["lower", "low"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert concerts(opened)[0] == "high"
    # What is not known comes last, whichever the direction.
    assert set(concerts(opened)[-3:]) == {"gone", "fresh", "alone"}
    opened.page.get_by_label("Sort by").select_option("attention")
    assert concerts(opened) == first


def test_filters_by_status_artist_city_and_words(opened: WatchedPage) -> None:
    page = opened.page
    page.get_by_role("checkbox", name="Behind").check()
    assert concerts(opened) == ["lower", "low"]
    assert page.locator("#shown").inner_text() == "2 of 17 concerts"
    page.locator("select[name=city]").select_option("Seoul, KR")
    assert concerts(opened) == ["low"]
    page.locator("select[name=artist]").select_option("Artist lower")
    assert concerts(opened) == []
    assert page.get_by_text("No concert fits these filters.").is_visible()
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_function("document.querySelectorAll('#board tbody tr:not([hidden])').length === 17")
    page.get_by_label("Search").fill("paris artist")
    assert concerts(opened) == ["high"]


def test_details_show_chart_numbers_and_comparables(opened: WatchedPage) -> None:
    page = opened.page
    page.get_by_role("button", name="Artist ok").click()
    detail = page.locator(".detail")
    chart = detail.get_by_role("img")
    told = chart.get_attribute("aria-label") or ""
    assert "400 sold 30 days before the show. Expected at the show: 500, with 80% between 450 and 550." in told
    assert "2 comparable concerts" in told
    text = " ".join(detail.inner_text().split())
    assert "Artist done-1, Berlin (28 Feb 2026): 305 at this point, 455 in the end" in text
    assert "321 asked for this artist" in text
    assert detail.locator("path.compared").count() == 2
    detail.get_by_text("Numbers of this chart").click()
    numbers = [" ".join(row.split()) for row in detail.locator("tbody tr").all_inner_texts()]
    assert f"30 10 Mar 2026 400 {DASH} {DASH} 305 510" in numbers
    detail.get_by_label("Unit of the chart").select_option("share")
    assert "100%" in detail.locator("svg.chart").inner_html()
    assert "/assets/forecasts/concert_forecast?view=partitions&partition=ok" in (
        detail.get_by_role("link", name="Forecast this concert now").get_attribute("href") or ""
    )


def test_a_keyboard_is_enough(opened: WatchedPage) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the concerts"
    button = page.get_by_role("button", name="Artist ok")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    chart = page.locator("svg.chart")
    reached = 0
    while not chart.evaluate("chart => chart === document.activeElement"):
        page.keyboard.press("Tab")
        reached += 1
        assert reached < 10, "the chart is not reached by the Tab key"
    page.keyboard.press("ArrowRight")
    readout = page.locator("output")
    assert readout.inner_text().startswith("29 days to the show (11 Mar 2026): expected 403 (402 to 405); A ")
    page.keyboard.press("Home")
    assert readout.inner_text().startswith("70 days to the show (29 Jan 2026): ")
    button.focus()
    page.keyboard.press("Space")
    assert page.locator(".detail").count() == 0


def test_a_link_opens_one_concert(browse: Browse, place: Path) -> None:
    watched = browse()
    watched.page.goto(f"{place.as_uri()}#concert=moved")
    assert watched.page.locator(".detail").count() == 1
    assert "Artist moved" in watched.page.evaluate("document.activeElement.textContent")
    assert watched.errors == []


def test_the_csv_holds_the_shown_concerts_and_no_formula(opened: WatchedPage) -> None:
    page = opened.page
    with page.expect_download() as expected:
        page.get_by_role("button", name="Download CSV").click()
    rows = read_csv(expected.value)
    assert expected.value.suggested_filename == "outlook-2026-03-10.csv"
    assert [row["concert_id"] for row in rows] == concerts(opened)
    by_id = {row["concert_id"]: row for row in rows}
    assert (by_id["low"]["pace_tickets"], by_id["low"]["final_p50"], by_id["low"]["artist"]) == (
        "-120.4",
        "500",
        "Zeta",
    )
    assert by_id["h4"]["artist"] == "'" + HOSTILE[4]
    page.get_by_role("checkbox", name="Behind").check()
    with page.expect_download() as expected:
        page.get_by_role("button", name="Download CSV").click()
    assert [row["concert_id"] for row in read_csv(expected.value)] == ["lower", "low"]


def read_csv(download: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(download.path()).read_text(encoding="utf-8-sig"))))


def test_hostile_names_are_text_everywhere(opened: WatchedPage) -> None:
    page = opened.page
    for name in HOSTILE:
        row = page.locator(SHOWN).filter(has=page.get_by_text(name, exact=True))
        row.get_by_role("button").click()
        assert name in page.locator(".detail").last.inner_text()
    assert page.locator("img, svg[onload]").count() == 0
    assert page.locator("script").count() == 2
    # Even a script that got into the page would not run.
    page.evaluate("""() => { const made = document.createElement("script"); made.textContent = "window.ran = true";
      document.body.append(made); }""")
    assert page.evaluate("window.ran") is None
    opened.errors[:] = [told for told in opened.errors if "Content Security Policy" not in told]


def test_the_heat_table_changes_its_measure(opened: WatchedPage) -> None:
    page = opened.page
    seoul = page.locator("#heat tbody tr").first
    assert " ".join(seoul.inner_text().split()) == f"Seoul KR 900 ● concert ahead {DASH}"
    page.locator("#measure").select_option("Expected in 84 days")
    assert " ".join(seoul.inner_text().split()) == f"Seoul KR 1,350 ● concert ahead {DASH}"
    waiting = page.get_by_role("region", name="Where most fans wait without a concert")
    assert [" ".join(row.split()) for row in waiting.locator("tbody tr").all_inner_texts()] == [
        "Zeta Oslo, NO 400 5 600",
        "Mu Oslo, NO 7 5 11",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["laptop", "phone"])
def test_text_stands_out_and_nothing_is_wider_than_the_screen(
    browse: Browse, place: Path, scheme: str, device: dict[str, Any]
) -> None:
    watched = browse(**device, color_scheme=scheme)
    watched.page.goto(place.as_uri())
    open_rows(watched.page.locator(SHOWN), 2)
    width = watched.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] == width[1]
    assert watched.page.evaluate(CONTRASTS) == []
    assert watched.errors == []
    assert watched.network_requests == []
    watched.page.context.close()


def open_rows(rows: Locator, count: int) -> None:
    for number in range(count):
        rows.nth(number).get_by_role("button").click()


def test_a_phone_shows_each_concert_as_a_card_with_names_of_its_figures(browse: Browse, place: Path) -> None:
    watched = browse(**PHONE)
    watched.page.goto(place.as_uri())
    row = watched.page.locator(SHOWN).first
    box = row.bounding_box()
    assert box is not None
    assert box["width"] > 300
    assert box["height"] > 120
    label = row.locator("[data-label='Pace']").evaluate("cell => getComputedStyle(cell, '::before').content")
    assert label == '"Pace"'
    # Fingers need room (WCAG 2.2, 2.5.8: 24 by 24 pixels).
    small = watched.page.evaluate("""() => [...document.querySelectorAll("button, select, input[type=search], .check")]
      .filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect())
      .filter(b => b.height < 24 || b.width < 24).length""")
    assert small == 0


def test_without_scripts_the_table_is_complete(browse: Browse, place: Path) -> None:
    watched = browse(java_script_enabled=False)
    watched.page.goto(place.as_uri())
    assert watched.page.locator(SHOWN).count() == 17
    assert watched.page.locator(SHOWN).first.inner_text().startswith("Artist still")
