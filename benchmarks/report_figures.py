"""Page size and drawing time of training curves: the page's own script beside three libraries.

    python benchmarks/report_figures.py --output results/report-figures.json

Every page shows the same figure: nine panels of six lines, with bands if there are replicates. The
libraries' pages hold nothing else; our own page is the whole report. A page counts as drawn when
all panels are there, found out once a frame, in headless Chromium (`tests/browser_session.py`).
Needs plotly, bokeh, altair and vl-convert-python, which fanin itself does not.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser_session import Browser, start_browser
from study_cases import plan_of, results_of

from fanin.report.figures.palette import LINE_COLOURS
from fanin.report.page import _hash
from fanin.report.results import Results
from fanin.report.sections.curve_figure import make_curve_figure

WIDTH, HEIGHT = 340, 224

Panels = list[dict[str, Any]]

DRAWN = {
    "own": "document.querySelectorAll('.panel.lines[data-drawn]').length >= 9",
    "plotly": "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length >= 54",
    "bokeh": "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle",
    "altair": "document.querySelectorAll('svg.marks, canvas.marks').length >= 1",
}
"""When a page is drawn, as an expression of its script."""

WATCH = """
(function look() {
  if (%s) { window.drawnAt = performance.now(); return; }
  requestAnimationFrame(look);
})();
"""


def list_lines(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the validation metric: number, x, y, and the ends of their bands."""
    lines = []
    for line in panel["lines"]:
        values = line["m"]["val_metric"]
        x = values.get("x", list(range(1, len(values["y"]) + 1)))
        lines.append(
            {
                "c": line["c"],
                "x": x,
                "y": values["y"],
                "lo": values.get("lo"),
                "hi": values.get("hi"),
            }
        )
    return lines


def draw_with_plotly(panels: Panels) -> str:
    """One chart for each panel, the library inside the page."""
    import plotly.graph_objects as go

    parts = []
    for panel in panels:
        figure = go.Figure(layout={"width": WIDTH, "height": HEIGHT, "title": panel["title"]})
        for line in list_lines(panel):
            colour = LINE_COLOURS[line["c"]]
            if line["lo"]:
                x = [*line["x"], *reversed(line["x"])]
                y = [*line["hi"], *reversed(line["lo"])]
                figure.add_scatter(
                    x=x, y=y, fill="toself", line={"width": 0}, opacity=0.2, fillcolor=colour
                )
            figure.add_scatter(x=line["x"], y=line["y"], mode="lines", line={"color": colour})
        parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    return _wrap("\n".join(parts))


def draw_with_bokeh(panels: Panels) -> str:
    """One grid, the library inside the page."""
    from bokeh.embed import file_html
    from bokeh.layouts import gridplot
    from bokeh.plotting import figure
    from bokeh.resources import INLINE

    charts = []
    for panel in panels:
        chart = figure(width=WIDTH, height=HEIGHT, title=panel["title"])
        for line in list_lines(panel):
            colour = LINE_COLOURS[line["c"]]
            if line["lo"]:
                chart.varea(line["x"], line["lo"], line["hi"], fill_color=colour, fill_alpha=0.2)
            chart.line(line["x"], line["y"], color=colour)
        charts.append(chart)
    return str(file_html(gridplot(charts, ncols=3), INLINE, "curves"))


def draw_with_altair(panels: Panels) -> str:
    """One chart for each panel, the libraries inside the first page part."""
    import altair as alt

    parts = []
    for panel in panels:
        rows = [
            {"x": x, "y": y, "lo": lo, "hi": hi, "c": str(line["c"])}
            for line in list_lines(panel)
            for x, y, lo, hi in zip(
                line["x"], line["y"], line["lo"] or line["y"], line["hi"] or line["y"], strict=True
            )
        ]
        base = alt.Chart(alt.Data(values=rows)).encode(x="x:Q", color="c:N")
        chart = base.mark_area(opacity=0.2).encode(y="lo:Q", y2="hi:Q") + base.mark_line().encode(
            y="y:Q"
        )
        parts.append(chart.properties(width=WIDTH - 60, height=HEIGHT - 50, title=panel["title"]))
    return str(alt.concat(*parts, columns=3).to_html(inline=True)) if parts else ""


def draw_ourselves(results: Results) -> str:
    """The whole report."""
    with tempfile.TemporaryDirectory() as folder:
        return results.report(Path(folder) / "page.html").read_text(encoding="utf-8")


def _wrap(body: str) -> str:
    return f"<!doctype html><html><head><meta charset='utf-8'></head><body>{body}</body></html>"


def restrict(page: str) -> str:
    """The page under a policy that allows its own scripts and style elements by hash only."""
    scripts = re.findall(r"<script(?![^>]*application/json)[^>]*>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    allowed = [
        " ".join(sorted({f"'{_hash(text)}'" for text in texts})) or "'none'"
        for texts in (scripts, styles)
    ]
    policy = f"default-src 'none'; script-src {allowed[0]}; style-src {allowed[1]}; img-src data:"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return page.replace("<head>", f"<head>{meta}", 1)


def measure(browser: Browser, page: Path, library: str, rounds: int) -> dict[str, Any]:
    """Milliseconds from the start of navigation to the load event, and until all is drawn."""
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH % DRAWN[library])
    loaded, drawn = [], []
    for _ in range(rounds):
        browser.open(page, width=1280, height=6000)
        browser.wait_until("window.drawnAt")
        loaded.append(browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        drawn.append(browser.run("window.drawnAt"))
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    return {
        "bytes": page.stat().st_size,
        "loaded_ms": statistics.median(loaded),
        "drawn_ms": statistics.median(drawn),
        "drawn_least_ms": min(drawn),
        "drawn_most_ms": max(drawn),
    }


def try_policy(browser: Browser, page: Path, library: str) -> dict[str, Any]:
    """What a strict policy blocked, as the console tells, and whether all was drawn."""
    browser.open(page, width=1280, height=6000)
    browser.run("new Promise(resolve => setTimeout(resolve, 1500))")
    blocked = sum("Content Security Policy" in text for text in browser.messages)
    return {"blocked": blocked, "drawn": bool(browser.run(f"Boolean({DRAWN[library]})"))}


def main() -> None:
    """Make the pages, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    libraries: dict[str, Callable[[Panels], str]] = {
        "plotly": draw_with_plotly,
        "bokeh": draw_with_bokeh,
        "altair": draw_with_altair,
    }
    record: dict[str, Any] = {"rounds": arguments.rounds, "studies": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with start_browser(folder / "profile") as browser:
            record["browser"] = browser.call("Browser.getVersion")["product"]
            for replicates in (1, 19):
                plan = plan_of(replicates=replicates)
                results = Results(plan, results_of(plan))
                figure = make_curve_figure(results.analysis)
                assert figure is not None
                found: dict[str, Any] = {}
                for name in ("own", *libraries):
                    text = (
                        draw_ourselves(results)
                        if name == "own"
                        else libraries[name](figure.data["panels"])
                    )
                    page = folder / f"{name}.html"
                    page.write_text(text, encoding="utf-8")
                    found[name] = measure(browser, page, name, arguments.rounds)
                    page.write_text(text if name == "own" else restrict(text), encoding="utf-8")
                    found[name]["policy"] = try_policy(browser, page, name)
                    print(len(plan.cells), name, found[name], flush=True)
                record["studies"][str(len(plan.cells))] = found
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
