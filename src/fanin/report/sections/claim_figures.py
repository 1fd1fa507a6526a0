"""The figures of claims: contrasts with their intervals, in smallest effects of interest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fanin.claims.claim_verdict import ClaimVerdict
from fanin.claims.contrast import ContrastResult
from fanin.report.escaping import escape_invisible
from fanin.report.sections.page_figure import PageFigure, round_number

COLOURS = {"supported": 2, "refuted": 1}
"""Verdict → the number of its colour and marker."""

_UNDECIDED = 8

_MOST = 20.0
"""Smallest effects beyond which a contrast is an arrow at the edge."""

_AXIS = "effect, in smallest effects of interest"
_CAPTION = (
    "Effects with their simultaneous 95 % intervals, divided by the smallest effect that matters: "
    "what lies between −1 and 1 is too small to matter. Green triangles: supported; orange "
    "squares: refuted; grey circles: not decided."
)


def make_overview(verdicts: Iterable[ClaimVerdict]) -> PageFigure | None:
    """The deciding contrast of each claim; None without any result."""
    rows = [_make_row(one.claim.name, one.decisive, one.verdict) for one in verdicts if one.n]
    if not rows:
        return None
    return _make_figure("The contrast that decides each claim", [("", rows)])


def make_claim_figure(verdict: ClaimVerdict) -> PageFigure | None:
    """All contrasts of a claim, a panel for each part; None without any result."""
    panels = []
    for part in verdict.parts:
        measured = [found for found in part.list_contrasts() if found.effect.n]
        if measured:
            rows = [_make_row(one.contrast.label, one, one.verdict) for one in measured]
            panels.append((f"{part.part.title}: {part.verdict}", rows))
    if not panels:
        return None
    return _make_figure(f"Contrasts of {verdict.claim.name}", panels)


def _make_figure(title: str, panels: Sequence[tuple[str, list[dict[str, Any]]]]) -> PageFigure:
    data = {
        "kind": "dots",
        "names": [],
        "nameLength": 46,
        "wide": True,
        "panels": [
            {"title": escape_invisible(name), "axis": _AXIS, "zero": True, "rows": rows}
            for name, rows in panels
        ],
        "legend": False,
    }
    return PageFigure(escape_invisible(title), _CAPTION, data)


def _make_row(name: str, result: ContrastResult, verdict: str) -> dict[str, Any]:
    effect, smallest = result.effect, result.contrast.smallest
    row: dict[str, Any] = {
        "c": COLOURS.get(verdict, _UNDECIDED),
        "name": escape_invisible(name),
        "y": round_number(effect.value / smallest),
        "planned": effect.n,
    }
    if verdict not in COLOURS:
        row["shape"] = "circle"  # an arrow means that a number lies beyond the axis
    for key, end in (("lo", effect.low), ("hi", effect.high)):
        row[key] = round_number(max(min(end / smallest, _MOST), -_MOST))
    value = effect.value / smallest
    if math.isinf(value) or abs(value) > _MOST:
        row["far"] = 1 if value > 0 else -1
        if math.isinf(value):
            row["note"] = "∞"
    return row
