"""The HTML page of an audit: one file, without scripts or network access."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from fanin._version import __version__
from fanin.diagnosis.codes import get_kind, list_kinds
from fanin.diagnosis.finding import PLACES, SEVERITIES, Finding
from fanin.diagnosis.measurement import Signal
from fanin.diagnosis.views.audit_text import describe_loss
from fanin.diagnosis.views.conclusion import conclude, describe_place, find_title, find_worst
from fanin.diagnosis.views.depth_chart import Curve, draw_depth_chart
from fanin.diagnosis.views.heat_table import render_heat_table
from fanin.diagnosis.views.layer_rows import format_size, list_courses
from fanin.diagnosis.views.plain_records import make_finite
from fanin.diagnosis.views.shown_audit import ShownAudit
from fanin.screen import escape_invisible, escape_lines

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MOST_LINKS = 12

Marks = dict[int, list[tuple[int, str, str]]]


def render_page(audit: ShownAudit) -> str:
    """The page's HTML. Every name and text is escaped, and the policy forbids everything else."""
    marks = _mark_layers(audit)
    parts = [
        *_render_head(audit),
        "<main>",
        *_render_findings(audit),
        *_render_layers(audit, marks),
        *_render_structure(audit),
        *_render_notes(audit.notes),
        "</main>",
        f"<footer><p>Written by fanin {__version__}.</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _show(text: object) -> str:
    """Anybody's text as HTML."""
    return escape(escape_invisible(text))


def _render_head(audit: ShownAudit) -> Iterator[str]:
    title = _show(audit.model_name)
    worst = find_worst(audit.findings)
    style = worst if worst in ("error", "warning") else "good" if audit.measurement else "note"
    yield "<!doctype html>"
    yield '<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    rules = files("fanin.diagnosis.views").joinpath("audit_page.css").read_text(encoding="utf-8")
    yield f"<title>{title} · fanin audit</title>\n<style>\n{rules}</style>\n</head>\n<body>"
    yield f'<header>\n<p class="kind">fanin audit</p>\n<h1>{title}</h1>'
    yield f'<p class="question {style}">{_show(conclude(audit))}</p>'
    yield f'<p class="counts">{" ".join(_list_facts(audit))}</p>\n</header>'


def _list_facts(audit: ShownAudit) -> Iterator[str]:
    for severity in SEVERITIES:
        if number := sum(one.severity == severity for one in audit.findings):
            plural = "s" if number > 1 else ""
            yield f'<span class="badge {severity}">{number:,} {severity}{plural}</span>'
    if audit.measurement is not None:
        yield f"{len(audit.layers):,} layers, {audit.measurement.samples:,} samples,"
        yield f"{_show(describe_loss(audit.measurement.loss))}."


def _render_findings(audit: ShownAudit) -> Iterator[str]:
    yield "<section>\n<h2>Findings</h2>"
    if not audit.findings:
        yield "<p>None.</p>"
    places = {layer.name: index for index, layer in reversed([*enumerate(audit.layers)])}
    for number, finding in enumerate(audit.findings):
        yield from _render_finding(number, finding, places)
    yield "</section>"


def _render_finding(number: int, finding: Finding, places: Mapping[str, int]) -> Iterator[str]:
    yield f'<article class="finding {finding.severity}" id="finding-{number}">'
    title = f"{find_title(finding.code)[:1].upper()}{find_title(finding.code)[1:]}"
    badge = f'<span class="badge {finding.severity}">{finding.severity}</span>'
    yield f'<h3><span class="code">{_show(finding.code)}</span> {_show(title)} {badge}</h3>'
    links = [_link_place(where, places) for where in finding.places[:_MOST_LINKS]]
    more = len(finding.places) - _MOST_LINKS
    yield f'<p class="where">in {", ".join(links)}{f" and {more} more" if more > 0 else ""}</p>'
    yield f"<p>{_show(finding.summary)}</p>"
    yield f'<p class="remedy">{_show(finding.remedy)}</p>'
    yield from _render_evidence(finding)
    yield from _render_meaning(finding.code)
    if finding.patches:
        patches = json.dumps(make_finite([patch.to_json() for patch in finding.patches]), indent=2)
        shown = escape(escape_lines(patches))
        yield f"<details><summary>patches</summary><pre><code>{shown}</code></pre></details>"
    yield "</article>"


def _render_evidence(finding: Finding) -> Iterator[str]:
    if not finding.evidence:
        return
    yield "<details><summary>evidence</summary><dl>"
    for name, value in finding.evidence.items():
        is_number = isinstance(value, float)
        text = format_size(value) if is_number else str(value)  # type: ignore[arg-type]
        yield f"<dt>{_show(name.replace('_', ' '))}</dt><dd>{_show(text)}</dd>"
    yield "</dl></details>"


def _render_meaning(code: str) -> Iterator[str]:
    if code not in {kind.code for kind in list_kinds()}:
        return
    kind = get_kind(code)
    yield f"<details><summary>what this means</summary><p>{_show(kind.meaning)}</p></details>"


def _find_layer(where: str, places: Mapping[str, int]) -> int | None:
    """The row of a module, or of the layer that a parameter belongs to."""
    if where in PLACES or not where:
        return None
    if where in places:
        return places[where]
    return places.get(where.rpartition(".")[0])


def _link_place(where: str, places: Mapping[str, int]) -> str:
    shown = f"<code>{_show(describe_place(where))}</code>" if where not in (*PLACES, "") else ""
    row = _find_layer(where, places)
    if not shown:
        return _show(describe_place(where))
    return shown if row is None else f'<a href="#layer-{row}">{shown}</a>'


def _mark_layers(audit: ShownAudit) -> Marks:
    """The findings about each layer, by its row."""
    places = {layer.name: index for index, layer in reversed([*enumerate(audit.layers)])}
    marks: Marks = {}
    for number, finding in enumerate(audit.findings):
        for row in {_find_layer(where, places) for where in finding.places} - {None}:
            assert row is not None
            marks.setdefault(row, []).append((number, finding.code, finding.severity))
    return marks


def _render_layers(audit: ShownAudit, marks: Marks) -> Iterator[str]:
    if audit.measurement is None or not audit.layers:
        return
    theory = getattr(audit, "theory", None)
    curves = _make_curves(audit.layers, getattr(theory, "signals", {}))
    severities = {row: found[0][2] for row, found in marks.items()}
    names = [layer.name or layer.label for layer in audit.layers]
    dashed = " Dashed: what theory predicts, shaded: what the width allows." if theory else ""
    lines = " Each line joins the layers of one role." if len(curves[0].courses) > 1 else ""
    yield "<section>\n<h2>Signal and gradient by depth</h2>"
    yield '<div class="scroll chart" tabindex="0" role="region" aria-label="Chart by depth">'
    yield draw_depth_chart(names, curves, severities)
    yield "</div>"
    yield (
        f'<p class="legend">Root mean square of each layer’s output, and of the gradient that '
        f"comes back to it, on logarithmic axes.{lines}{dashed} Large dots: layers with a "
        "finding.</p>"
    )
    yield "</section>\n<section>\n<h2>Every layer</h2>"
    yield from render_heat_table(audit.measurement, audit.layers, marks)
    yield (
        '<p class="legend">Orange: a signal far above 1, a gradient far above that of the last '
        "layer, or a share near 1. Blue: far below. Zeros and saturation are those of the "
        "activation behind the layer.</p>\n</section>"
    )


def _make_curves(layers: Sequence[Signal], predicted: Mapping[int, Any]) -> list[Curve]:
    found = [predicted.get(layer.node) for layer in layers]
    courses = list_courses(layers)
    band = [
        (one.low, one.high)
        if one is not None and one.low is not None and one.high is not None
        else None
        for one in found
    ]
    return [
        Curve(
            "Signal, forward",
            "signal",
            [layer.rms for layer in layers],
            [getattr(one, "predicted_rms", None) for one in found],
            band,
            courses,
        ),
        Curve(
            "Gradient, backward",
            "gradient",
            [layer.gradient_rms for layer in layers],
            [getattr(one, "predicted_gradient_rms", None) for one in found],
            courses=courses,
        ),
    ]


def _render_structure(audit: ShownAudit) -> Iterator[str]:
    if audit.structure is None:
        return
    shown = escape(escape_lines(str(audit.structure)))
    yield "<section>\n<h2>What was taken for what</h2>"
    yield f'<div class="scroll"><pre><code>{shown}</code></pre></div>\n</section>'


def _render_notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        items = "\n".join(f"<li>{_show(note)}</li>" for note in notes)
        yield f"<section>\n<h2>What could not be looked at</h2>\n<ul>\n{items}\n</ul>\n</section>"
