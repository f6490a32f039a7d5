"""The site as a reader sees it: opened from ``file://`` in Chromium, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braidbench_leaderboard.build import build_site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


class Reader:
    """A page that remembers what it asked for and what went wrong."""

    def __init__(self, browser: Any, viewport: dict[str, int], scheme: str = "light") -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.troubles: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: self.troubles.append(f"dialog: {dialog.message}"))
        # A violation of the content security policy is an error on the console.
        self.page.on("console", lambda message: self._console(message))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("load")
        if self.page.locator("figure.chart").count():
            self.page.wait_for_function(
                "[...document.querySelectorAll('figure.chart')].every(f => f.querySelector('svg path, canvas'))"
            )
        return self.page

    def check(self) -> None:
        assert self.troubles == []
        assert [url for url in self.requests if not url.startswith("file://")] == []


@pytest.fixture
def reader(browser: Any) -> Iterator[Any]:
    opened: list[Reader] = []

    def start(viewport: dict[str, int] = WIDE, scheme: str = "light") -> Reader:
        opened.append(Reader(browser, viewport, scheme))
        return opened[-1]

    yield start
    for one in opened:
        one.context.close()


def task_page(site: Path) -> Path:
    [path] = site.glob("task/dataset-0-*.html")
    return path


def column(page: Any, table: str, number: int) -> list[str]:
    """Texts of one column, from 0, of the rows that are shown."""
    texts: list[str] = page.evaluate(
        "([table, number]) => [...document.querySelectorAll(`#${table} tbody tr`)]"
        ".filter(row => row.offsetParent).map(row => row.cells[number].textContent.trim())",
        [table, number],
    )
    return texts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1280", "390"])
def test_every_kind_of_page_opens_without_network_errors_or_sideways_scrolling(site, reader, viewport, scheme):
    opened = reader(viewport, scheme)
    pages = [site / "index.html", *site.glob("task/*.html"), *sorted(site.glob("cell/*.html"))[:3]]
    for path in pages:
        page = opened.open(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    opened.check()


def test_the_charts_are_drawn_and_told(site, reader):
    opened = reader()
    page = opened.open(task_page(site))
    charts = page.locator("figure.chart")
    assert charts.count() == 4
    assert page.locator("figure.chart svg").count() == 4
    assert all(charts.nth(n).get_attribute("aria-label") for n in range(4))
    # One point a row with a score: five methods and the row with overrides.
    assert page.locator("#cost-plot .mark-symbol.layer_1_marks path").count() == 6
    before = page.locator("#cost-plot svg").text_content()
    page.get_by_role("button", name="training time (s)").click()
    page.wait_for_function("old => document.querySelector('#cost-plot svg')?.textContent !== old", arg=before)
    page.wait_for_selector("#cost-plot svg >> text=training time (s)")
    assert page.get_by_role("button", name="training time (s)").get_attribute("aria-pressed") == "true"
    opened.check()


def test_bars_are_as_long_as_their_parts_and_whiskers_end_where_intervals_do(site, reader):
    """Two parts of 0.5 and 0.25 and one of 0.5, with intervals of 0.2, 0.1 and 0.2 about their ends."""
    opened = reader()
    page = opened.open(task_page(site))
    boxes = page.locator("#measured-plot-0 .mark-rect path").evaluate_all(
        "marks => marks.map(mark => mark.getBoundingClientRect()).map(box => [box.left, box.width])"
    )
    (first, half), (second, quarter), (other, same) = boxes
    assert (half / quarter, half / same) == (pytest.approx(2, rel=0.02), pytest.approx(1, rel=0.02))
    assert (second, other) == (pytest.approx(first + half, abs=1), pytest.approx(first, abs=1))
    lines = page.locator("#measured-plot-0 :is(.layer_1_marks, .layer_2_marks) line").evaluate_all(
        "marks => marks.map(mark => mark.getBoundingClientRect()).map(box => [box.left, box.width])"
    )
    widths = sorted(width / half for _, width in lines)
    assert widths == [pytest.approx(value, abs=0.02) for value in (0.2, 0.4, 0.4)]
    opened.check()


def test_the_tooltip_is_hidden_until_a_point_is_touched(site, reader):
    opened = reader()
    page = opened.open(task_page(site))
    point = page.locator("#cost-plot .mark-symbol.layer_1_marks path").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "accuracy" in page.locator("#vg-tooltip-element").inner_text()
    page.mouse.move(5, 5)
    page.wait_for_selector("#vg-tooltip-element", state="hidden")
    opened.check()


def test_a_table_sorts_by_number_both_ways_with_missing_last(site, reader):
    opened = reader()
    page = opened.open(task_page(site))
    head = page.locator("#scores thead th").nth(2)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    shown = column(page, "scores", 2)
    values = [float(text.split()[0]) for text in shown if text[0].isdigit()]
    assert len(values) == 6
    assert values == sorted(values)
    assert shown[-2:] == ["failed", "skipped"] or shown[-2:] == ["skipped", "failed"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    shown = column(page, "scores", 2)
    assert [float(text.split()[0]) for text in shown if text[0].isdigit()] == values[::-1]
    assert not shown[-1][0].isdigit()
    page.locator("#scores thead th").nth(0).get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    names = column(page, "scores", 0)
    assert names == sorted(names, key=str.lower)
    opened.check()


def test_a_table_filters_and_says_how_many_are_left(site, reader):
    opened = reader()
    page = opened.open(site / "index.html")
    everything = column(page, "overview", 0)
    page.get_by_role("searchbox").fill("UNIMODAL aud")
    assert column(page, "overview", 0) == ["unimodal[audio]"]
    assert page.get_by_role("status").inner_text().strip() == "1 shown"
    page.get_by_role("searchbox").fill("")
    assert column(page, "overview", 0) == everything
    opened.check()


def test_a_number_leads_to_its_cell_and_the_command_can_be_copied(site, reader):
    opened = reader()
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened.open(site / "index.html")
    page.locator("#overview tbody td a").first.click()
    page.wait_for_load_state("load")
    anchor = page.url.partition("#")[2]
    assert anchor.startswith("row-")
    page.locator(f"#{anchor} a").first.click()
    page.wait_for_load_state("load")
    assert "/cell/" in page.url
    command = page.locator("#command").inner_text()
    assert command.startswith("braidbench run dataset-")
    page.get_by_role("button", name="Copy").click()
    page.wait_for_selector("button >> text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == command
    opened.check()


def test_strangers_code_does_not_run(tmp_path, reader, make_result, store_results):
    code = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
    curve = {
        "corruption": code, "modality": code, "metric": code, "direction": "higher", "severities": [0, 0.5, 1],
        "scores": [0.9, 0.85, 0.8], "relative": 0.85, "seed": 0, "source": "1",
    }  # fmt: skip
    fields = {"dataset": code, "task": code, "area": code, "scores": {code: 0.5}, "directions": {code: "higher"}}
    results = [make_result(code, 0, command=code, citation=code, robustness=[curve], **fields)]
    build_site([store_results(tmp_path / "results", results)], tmp_path / "site")
    opened = reader(NARROW)
    for path in (tmp_path / "site").rglob("*.html"):
        page = opened.open(path)
        assert page.evaluate("window.pwned") is None
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
        for point in page.locator("#cost-plot .mark-symbol.layer_1_marks path").all():
            point.scroll_into_view_if_needed()
            point.hover(force=True)
            page.wait_for_selector("#vg-tooltip-element.visible")
            assert page.evaluate("window.pwned") is None
    opened.check()
