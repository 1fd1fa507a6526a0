"""The HTML page in a real browser: what Chromium shows of it, with its content policy in force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_session import CHROMIUM, NO_BROWSER, Browser, start_browser
from study_cases import CLASSIFICATION, INITIALIZERS, of_outcomes, plan_of, results_of
from test_report_escaping import HOSTILE, hostile_results
from test_report_page import STORES

from fanin.report.compared_stores import compare_results
from fanin.report.figures.palette import DARK_COLOURS, LINE_COLOURS
from fanin.report.results import Results
from fanin.study.study import Study

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)

PAIRS = [("mlp", "mnist"), ("regression", "california-housing")]

VISIBLE_ROWS = (
    "[...document.querySelectorAll('table[data-tools=tools] tbody tr:not(.section)')]"
    ".filter(row => !row.hidden && !row.parentElement.hidden)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with start_browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = plan_of(PAIRS, replicates=5)
    found = results_of(plan)
    return Results(plan, found).report(tmp_path_factory.mktemp("pages") / "report.html")


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def check_quiet(browser: Browser, page: Path) -> None:
    """No error, no message, nothing blocked, and no request but the one for the page."""
    assert browser.messages == []
    assert browser.requests == [page.as_uri()]


def texts(browser: Browser, column: int) -> list[str]:
    """The texts of a column of the visible rows."""
    found: list[str] = browser.run(f"{VISIBLE_ROWS}.map(row => row.cells[{column}].textContent)")
    return found


def test_every_figure_is_drawn_and_nothing_leaves_the_page(opened: Browser, page: Path) -> None:
    opened.draw_all()
    figures = opened.run("document.querySelectorAll('figure').length")
    # differences, a dot plot, curves; two problems in each
    assert figures == opened.run("document.querySelectorAll('figure:has(svg .mark)').length") == 3
    assert opened.run("document.querySelectorAll('.panel').length") == 6
    assert opened.run("document.querySelectorAll('.panel[data-drawn] svg').length") == 6
    assert opened.run("document.querySelectorAll('.waiting, .panel svg .nothing').length") == 0
    assert opened.run("document.querySelectorAll('path.mean').length") == 2 * len(INITIALIZERS)
    assert opened.run("document.querySelectorAll('path.band').length") == 2 * len(INITIALIZERS)
    check_quiet(opened, page)


def test_an_initializer_has_one_colour_in_all_figures(opened: Browser) -> None:
    opened.draw_all()
    for number, colour in enumerate(LINE_COLOURS[: len(INITIALIZERS)]):
        found = opened.run(
            f"[...document.querySelectorAll('path.mean.c{number}, line.interval.c{number}')]"
            ".map(mark => getComputedStyle(mark).stroke)"
        )
        rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert set(found) == {f"rgb{rgb}".replace("rgb(", "rgb(")}


def test_the_table_is_sorted_with_the_keyboard_alone(opened: Browser) -> None:
    opened.run("document.querySelector('[data-tools=tools] th:nth-child(3) button').focus()")
    unsorted = texts(opened, 2)[:6]
    orders = []
    for expected in ("ascending", "descending", "none"):
        opened.press("Enter")
        assert (
            opened.run("document.activeElement.closest('th').getAttribute('aria-sort')") == expected
        )
        orders.append(texts(opened, 2)[:6])
    assert orders == [sorted(unsorted), sorted(unsorted, reverse=True), unsorted]
    assert unsorted != orders[0]


def test_sections_stay_together_when_sorted(opened: Browser) -> None:
    opened.run("document.querySelector('[data-tools=tools] th:nth-child(5) button').click()")
    for body in range(2):
        cells = opened.run(
            f"[...document.querySelectorAll('[data-tools=tools] tbody')[{body}].rows]"
            ".slice(1).map(row => Number(row.cells[4].dataset.value))"
        )
        assert cells == sorted(cells)
        assert len(cells) == len(INITIALIZERS)


def test_rows_are_filtered_by_words_and_by_choices(opened: Browser) -> None:
    opened.run("document.getElementById('find').focus()")
    opened.type("HOUSING")
    assert texts(opened, 0) == list(INITIALIZERS)
    assert opened.run("document.querySelector('#tools output').textContent") == "6 of 12 rows"
    opened.type(" he_")
    assert texts(opened, 0) == ["he_normal"]
    opened.run(
        "document.getElementById('find').value = '';"
        "const list = document.querySelector('#tools select[data-factor=initializer]');"
        "list.value = 'zero'; list.dispatchEvent(new Event('change'))"
    )
    assert texts(opened, 0) == ["zero", "zero"]


def test_every_control_is_reached_with_tab_and_has_a_name(opened: Browser) -> None:
    opened.run("document.body.focus()")
    reached = []
    for _ in range(80):
        opened.press("Tab")
        here = opened.run(
            "(e => [e.tagName, e.getAttribute('aria-label') || e.textContent.trim() ||"
            " (e.labels && e.labels[0] && e.labels[0].textContent.trim())])(document.activeElement)"
        )
        if here[0] == "BODY":
            break
        reached.append(here)
    assert all(name for _, name in reached)
    kinds = {kind for kind, _ in reached}
    assert kinds >= {"A", "BUTTON", "SELECT", "INPUT", "DIV", "SUMMARY"}


def test_a_legend_switches_lines_off_and_scales_follow(opened: Browser) -> None:
    opened.draw_all()
    tick = "document.querySelector('figure:has(path.mean) .axis text').textContent"
    before = opened.run(tick)
    opened.run("document.querySelector('figure:has(path.mean) .legend button').focus()")
    opened.press(" ")
    opened.draw_all()
    assert opened.run("document.activeElement.getAttribute('aria-pressed')") == "false"
    assert opened.run("document.querySelectorAll('path.mean').length") == 2 * 5
    assert opened.run("document.querySelectorAll('path.mean.c0').length") == 0
    assert opened.run(tick) != before


def test_another_metric_is_chosen(opened: Browser) -> None:
    opened.draw_all()
    title = "document.querySelector('figure:has(path.mean) text.title:last-of-type').textContent"
    assert opened.run(title).startswith("validation accuracy")
    opened.run(
        "const list = document.querySelector('.controls select');"
        "list.value = 'loss'; list.dispatchEvent(new Event('change'))"
    )
    opened.draw_all()
    assert opened.run(title).startswith("training loss")


def test_numbers_are_read_off_with_the_arrow_keys(opened: Browser) -> None:
    opened.draw_all()
    opened.run("document.querySelector('.panel.lines').focus()")
    opened.press("Home")
    opened.press("ArrowRight")
    said = opened.run("document.querySelector('.reading:not([hidden])').textContent")
    assert said.startswith("epoch 2")
    assert all(name in said for name in INITIALIZERS)
    opened.press("Escape")
    assert opened.run("document.querySelector('.reading:not([hidden])')") is None


def test_every_figure_has_its_numbers_as_a_table(opened: Browser) -> None:
    opened.run("document.querySelectorAll('details.numbers').forEach(one => one.open = true)")
    opened.wait_until("document.querySelectorAll('details.numbers table').length === 3")
    rows = opened.run(
        "[...document.querySelectorAll('details.numbers table')]"
        ".map(one => one.tBodies[0].rows.length)"
    )
    others = len(INITIALIZERS) - 1
    assert rows[:2] == [2 * others, 2 * len(INITIALIZERS)]
    assert rows[2] > 100


def test_all_cells_are_listed_page_by_page_and_found(opened: Browser) -> None:
    opened.run("document.getElementById('cells-list').open = true")
    opened.wait_until("document.querySelector('table.cells')")
    rows = "document.querySelectorAll('table.cells tbody tr').length"
    assert opened.run(rows) == 60
    opened.run("document.getElementById('cells-list-filter').focus()")
    opened.type("he_normal mnist")
    assert opened.run(rows) == 5
    opened.run("document.querySelector('table.cells th button').click()")
    assert (
        opened.run("document.querySelector('table.cells th').getAttribute('aria-sort')")
        == "ascending"
    )


def test_names_from_outside_stay_text(browser: Browser, tmp_path: Path) -> None:
    page = hostile_results(3).report(tmp_path / "hostile.html")
    browser.open(page)
    browser.draw_all()
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.wait_until("document.querySelector('table.cells tbody tr')")
    assert (
        browser.run("document.querySelectorAll('img, svg[onload], iframe, a[href^=http]').length")
        == 0
    )
    assert browser.run("document.querySelectorAll('script').length") == 2
    legend = browser.run("[...document.querySelectorAll('.legend button')].map(b => b.textContent)")
    assert HOSTILE[0] in legend
    assert HOSTILE[0] in browser.run("document.querySelector('h1').textContent")
    check_quiet(browser, page)


@pytest.mark.parametrize(("store", "said"), STORES, ids=[store.__name__ for store, _ in STORES])
def test_every_kind_of_store_is_shown_without_an_error(
    store: object, said: str, browser: Browser, tmp_path: Path
) -> None:
    assert callable(store)
    page = store().report(tmp_path / "page.html")
    browser.open(page)
    browser.draw_all()
    assert said in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('.waiting, .space').length") == 0
    check_quiet(browser, page)


def test_a_thousand_cells_open_within_two_seconds(browser: Browser, tmp_path: Path) -> None:
    plan = plan_of(replicates=19)
    page = Results(plan, results_of(plan)).report(tmp_path / "page.html")
    browser.open(page)
    browser.wait_until("performance.getEntriesByName('fanin-ready').length")
    ready = browser.run("performance.getEntriesByName('fanin-ready')[0].startTime")
    assert len(plan.cells) > 1000
    assert ready < 2_000


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_its_window_and_wide_tables_scroll_in_themselves(
    width: int, dark: bool, browser: Browser, page: Path
) -> None:
    browser.open(page, width=width, height=844, dark=dark)
    browser.draw_all()
    assert browser.run("document.documentElement.scrollWidth") == width
    outside = browser.run(
        "[...document.querySelectorAll('body *')]"
        ".filter(one => !one.closest('.scroll, math, .skip, svg'))"
        ".filter(one => (box => box.right > innerWidth + 1 || box.left < -1)"
        "(one.getBoundingClientRect())).map(one => one.outerHTML.slice(0, 80))"
    )
    assert outside == []


def test_text_has_contrast_on_light_and_on_dark_paper(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        browser.open(page, dark=dark)
        browser.draw_all()
        poor = browser.run(CONTRAST)
        assert poor == []


CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const isText = (node) => node.nodeType === 3 && node.textContent.trim();
    if (![...element.childNodes].some(isText) || !element.checkVisibility()) continue;
    if (element.closest('script, noscript')) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push([element.outerHTML.slice(0, 80), ratio]);
  }
  return found;
})()
"""


def test_the_button_switches_between_light_and_dark(browser: Browser, page: Path) -> None:
    browser.open(page, dark=True)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = browser.run(paper)
    browser.run("document.getElementById('theme').focus()")
    browser.press("Enter")
    light = browser.run(paper)
    browser.press("Enter")
    assert light == "rgb(255, 255, 255)" != dark
    assert browser.run(paper) == dark
    assert len(set(DARK_COLOURS)) == len(LINE_COLOURS)


def test_headings_are_in_order_and_landmarks_are_there(opened: Browser) -> None:
    levels = opened.run(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert opened.run("['header','main','footer'].every(name => document.querySelector(name))")
    assert opened.run("document.querySelector('h2').textContent") == "Answer"


def test_a_page_that_is_printed_shows_every_figure_and_no_controls(opened: Browser) -> None:
    opened.call("Emulation.setEmulatedMedia", media="print")
    opened.draw_all()
    assert opened.run("document.querySelectorAll('.space').length") == 0
    assert opened.run("getComputedStyle(document.querySelector('.tools')).display") == "none"
    opened.call("Emulation.setEmulatedMedia", media="")


def test_a_diverged_replicate_is_marked_and_its_condition_has_no_mean(
    browser: Browser, tmp_path: Path
) -> None:
    plan = plan_of(PAIRS[:1], ("zero", "he_normal"), replicates=5)
    results = of_outcomes(plan, "ok", "ok", "ok", "diverged")
    page = Results(plan, results).report(tmp_path / "page.html")
    browser.open(page)
    browser.draw_all()
    lost = sum(result.outcome == "diverged" for result in results.values())
    curves = "figure:has(path.run)"
    assert browser.run(f"document.querySelectorAll('{curves} .diverged-mark').length") == lost
    assert browser.run("document.querySelectorAll('path.mean.c0').length") == 1
    assert browser.run("document.querySelectorAll('path.mean.c1').length") == 0
    assert browser.run(f"document.querySelectorAll('{curves} path.run.c1').length") == 5


def test_a_built_in_study_with_tuned_rates_and_depths_is_drawn(
    browser: Browser, tmp_path: Path
) -> None:
    plan = Study.load("depth").plan(replicates=1, only={"activation": ["relu"]})
    page = Results(plan, results_of(plan)).report(tmp_path / "page.html")
    browser.open(page)
    browser.draw_all()
    assert browser.run("document.querySelectorAll('.panel svg .nothing').length") == 0
    check_quiet(browser, page)


def test_the_chapters_of_the_case_study_fit_a_phone_and_their_formulas_are_drawn(
    browser: Browser, tmp_path: Path
) -> None:
    plan = Study.load("case-study").plan(replicates=2)
    page = Results(plan, results_of(plan)).report(tmp_path / "page.html")
    browser.open(page, width=390, height=844)
    browser.draw_all()
    assert browser.run("document.documentElement.scrollWidth") == 390
    sizes = browser.run("[...document.querySelectorAll('math')].map(one => one.clientHeight)")
    assert len(sizes) > 30
    assert min(sizes) > 5
    assert browser.run("document.querySelectorAll('math [class*=error], merror').length") == 0
    check_quiet(browser, page)


def test_stores_side_by_side_are_one_page_whose_parts_work(
    browser: Browser, tmp_path: Path
) -> None:
    plan = plan_of(PAIRS, replicates=5)
    results = Results(plan, results_of(plan))
    page = compare_results(results, results, names=(HOSTILE[0], "b")).report(tmp_path / "p.html")
    browser.open(page)
    browser.draw_all()
    assert browser.run("document.querySelectorAll('.waiting, .space').length") == 0
    assert browser.run("document.querySelectorAll('table.sortable').length") == 5
    browser.run("document.getElementById('store-2-find').focus()")
    browser.type("housing")
    visible = "[...document.querySelectorAll('table.sortable')].map(t => [...t.rows].filter("
    visible += "row => !row.hidden && !row.parentElement.hidden).length)"
    counts = browser.run(visible)
    assert counts[-1] < counts[-3]  # the results of the second store, and of the first
    assert HOSTILE[0] in browser.run("document.querySelector('h1').textContent")
    check_quiet(browser, page)


def test_cells_of_a_heat_map_fill_its_panel(browser: Browser, tmp_path: Path) -> None:
    plan = Study.load("optimizers").plan(replicates=1)
    page = Results(plan, results_of(plan)).report(tmp_path / "page.html")
    browser.open(page)
    browser.draw_all()
    sizes = browser.run(
        "[...document.querySelectorAll('.panel.heat rect.cell')]"
        ".map(cell => [cell.width.baseVal.value, cell.height.baseVal.value])"
    )
    assert len(sizes) == 5 * 6
    assert min(width for width, _ in sizes) > 20
    assert min(height for _, height in sizes) > 15


@pytest.mark.parametrize("width", [390, 1200])
def test_ranks_are_drawn_on_a_desk_and_on_a_phone(
    width: int, browser: Browser, tmp_path: Path
) -> None:
    plan = plan_of(CLASSIFICATION[:3])
    page = Results(plan, results_of(plan)).report(tmp_path / "page.html")
    browser.open(page, width=width, height=844)
    browser.draw_all()
    marks = "document.querySelectorAll('.panel.ranks .mark').length"
    assert browser.run(marks) == len(INITIALIZERS)
    names = browser.run("document.querySelector('.panel.ranks svg').textContent")
    assert all(name in names for name in INITIALIZERS)
    check_quiet(browser, page)
