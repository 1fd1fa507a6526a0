"""Signal and gradient by depth as one SVG picture, measured beside predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from fanin.diagnosis.views.layer_rows import find_range, format_size
from fanin.screen import escape_invisible

_WIDTH, _PANEL, _GAP = 900, 190, 66
_LEFT, _RIGHT = 64, 16
_MOST_DOTS = 160
"""Beyond this many layers only those with a finding have a dot."""


@dataclass(frozen=True)
class Curve:
    """One quantity over the layers, in the order of their computation."""

    title: str
    style: str
    """``signal`` or ``gradient``."""
    measured: Sequence[float | None]
    predicted: Sequence[float | None] = ()
    band: Sequence[tuple[float, float] | None] = ()
    """What finite width allows."""
    courses: Sequence[Sequence[int]] = ()
    """The lines to draw, as places of layers; one line through all if empty."""


def draw_depth_chart(
    names: Sequence[str], curves: Sequence[Curve], severities: Mapping[int, str]
) -> str:
    """The SVG element.

    Args:
        names: of the layers.
        curves: one panel each, one below the other.
        severities: of the layers that have a finding, by their place.
    """
    height = len(curves) * (_PANEL + _GAP) + 8
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="Signal and gradient of each layer, from the input to the output">'
    ]
    for number, curve in enumerate(curves):
        top = number * (_PANEL + _GAP) + 28
        parts += _draw_panel(names, curve, severities, top)
    return "\n".join([*parts, "</svg>"])


def _draw_panel(
    names: Sequence[str], curve: Curve, severities: Mapping[int, str], top: float
) -> Iterator[str]:
    numbers = [*curve.measured, *curve.predicted, *(n for pair in curve.band if pair for n in pair)]
    low, high = find_range(numbers)
    scale = _Scale(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9), top)
    yield f'<text class="title" x="{_LEFT}" y="{top - 12:g}">{escape(curve.title)}</text>'
    yield from _draw_grid(scale, len(names))
    count = len(names)
    if len(curve.courses) < 2:
        yield from _draw_band(curve.band, scale, count)
    for values, style in ((curve.predicted, "predicted"), (curve.measured, "measured")):
        for course in curve.courses or [range(len(values))]:
            if path := _draw_path(values, course, scale, count):
                yield f'<path class="{style} {curve.style}" d="{path}"/>'
    for index, value in enumerate(curve.measured):
        severity = severities.get(index, "")
        if (y := scale.place(value)) is None or (count > _MOST_DOTS and not severity):
            continue
        title = f"{names[index]}: {format_size(value)}"
        yield (
            f'<a href="#layer-{index}"><circle class="{severity or curve.style}" '
            f'cx="{_place_layer(index, count):.1f}" cy="{y:.1f}" r="{4.5 if severity else 2.6}">'
            f"<title>{escape(escape_invisible(title))}</title></circle></a>"
        )


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis from 10^low to 10^high, its upper end at `top`."""

    low: int
    high: int
    top: float

    def place(self, value: float | None) -> float | None:
        """The y of a number; None if it cannot be drawn."""
        if value is None or math.isnan(value) or value <= 0:
            return None
        share = (self.high - math.log10(value)) / max(self.high - self.low, 1)
        if math.isinf(value):
            share = 0.0
        return self.top + _PANEL * min(max(share, 0.0), 1.0)


def _draw_grid(scale: _Scale, count: int) -> Iterator[str]:
    step = max(1, math.ceil((scale.high - scale.low) / 5))
    for power in range(scale.low, scale.high + 1, step):
        y = scale.place(10.0**power)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        text = format_size(10.0**power) if -3 <= power <= 3 else f"1e{power}"
        yield f'<text x="{_LEFT - 8}" y="{(y or 0) + 4:.1f}" text-anchor="end">{text}</text>'
    bottom = scale.top + _PANEL + 16
    yield f'<text x="{_LEFT}" y="{bottom:g}">first layer</text>'
    if count > 1:
        yield f'<text x="{_WIDTH - _RIGHT}" y="{bottom:g}" text-anchor="end">layer {count}</text>'


def _draw_band(
    band: Sequence[tuple[float, float] | None], scale: _Scale, count: int
) -> Iterator[str]:
    run: list[tuple[float, float, float]] = []
    for index, pair in [*enumerate(band), (len(band), None)]:
        ends = None if pair is None else (scale.place(pair[0]), scale.place(pair[1]))
        if ends is None or ends[0] is None or ends[1] is None:
            if len(run) > 1:
                upper = [f"{x:.1f} {y:.1f}" for x, _, y in run]
                lower = [f"{x:.1f} {y:.1f}" for x, y, _ in reversed(run)]
                yield f'<path class="band" d="M{" L".join([*upper, *lower])} Z"/>'
            run = []
        else:
            run.append((_place_layer(index, count), ends[0], ends[1]))


def _draw_path(
    values: Sequence[float | None], course: Sequence[int], scale: _Scale, count: int
) -> str:
    """A line through what can be drawn; what cannot interrupts it."""
    commands: list[str] = []
    move = True
    for index in course if values else ():
        if (y := scale.place(values[index])) is None:
            move = True
            continue
        commands.append(f"{'M' if move else 'L'}{_place_layer(index, count):.1f} {y:.1f}")
        move = False
    return " ".join(commands)


def _place_layer(index: int, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index / (count - 1) if count > 1 else 0.5)
