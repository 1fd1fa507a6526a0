"""A row per layer, coloured by what was measured there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.views.layer_rows import find_activation, format_share, format_size
from fanin.screen import escape_invisible

_TITLES = (
    ("signal", "root mean square of the layer's output"),
    ("gradient", "root mean square of the gradient that comes back to it"),
    ("zeros", "share of exact zeros behind the activation"),
    ("saturated", "share of numbers at which the activation is flat"),
    ("rank", "effective number of directions over the samples"),
    ("alike", "mean cosine between the outputs for different samples"),
)
_MOST_ROWS = 1500

_LARGE, _SMALL = "213, 94, 0", "0, 114, 178"
"""Red, green and blue of too large and too small; they can be told apart by everybody."""

_DECADES = 3
"""A factor of a thousand from the usual size has the full colour."""


def render_heat_table(
    measurement: Measurement,
    layers: Sequence[Signal],
    marks: Mapping[int, Sequence[tuple[int, str, str]]],
) -> Iterator[str]:
    """The lines of the table.

    Args:
        measurement: what was measured.
        layers: the rows, in the order of computation.
        marks: of a row the number, code and severity of the findings about it.
    """
    yield '<div class="heat" tabindex="0" role="region" aria-label="Measurements of every layer">'
    heads = "".join(f'<th scope="col" title="{what}">{title}</th>' for title, what in _TITLES)
    yield f'<table><thead><tr><th scope="col">layer</th>{heads}</tr></thead><tbody>'
    last = next((one.gradient_rms for one in reversed(layers) if one.gradient_rms), None)
    most = _find_most_rank(layers, measurement.samples)
    for index, layer in enumerate(layers[:_MOST_ROWS]):
        activation = find_activation(measurement, layer)
        cells = "".join(_render_cells(layer, activation or layer, last, most))
        links = "".join(
            f'<a class="{severity}" href="#finding-{number}">{escape(code)}</a>'
            for number, code, severity in marks.get(index, ())
        )
        name = escape(escape_invisible(layer.name or layer.label))
        label = escape(escape_invisible(layer.label))
        yield (
            f'<tr id="layer-{index}"><th scope="row" class="marks"><span title="{label}">{name}'
            f"</span>{links}</th>{cells}</tr>"
        )
    yield "</tbody></table></div>"
    if len(layers) > _MOST_ROWS:
        yield f'<p class="legend">The first {_MOST_ROWS:,} of {len(layers):,} layers.</p>'


def _render_cells(layer: Signal, behind: Signal, last: float | None, most: float) -> Iterator[str]:
    yield _render_cell(format_size(layer.rms), _colour_size(layer.rms, 1.0))
    gradient = layer.gradient_rms
    yield _render_cell(format_size(gradient), _colour_size(gradient, last))
    yield _render_cell(format_share(behind.zero_share), _colour_share(behind.zero_share, 0.5))
    yield _render_cell(format_share(behind.saturated), _colour_share(behind.saturated, 0.0))
    rank = layer.effective_rank
    low = None if rank is None or most <= 1 else 1 - min(rank / most, 1.0)
    yield _render_cell("–" if rank is None else f"{rank:.1f}", _colour_share(low, 0.5))
    alike = layer.similarity
    shown = "–" if alike is None or math.isnan(alike) else f"{alike:.2f}"
    yield _render_cell(shown, _colour_share(alike, 0.5))


def _render_cell(text: str, style: str) -> str:
    return f"<td{style}>{text}</td>"


def _find_most_rank(layers: Sequence[Signal], samples: int) -> float:
    """What the rank of a layer is compared with: the largest one of the model."""
    return max((one.effective_rank or 0 for one in layers), default=float(samples))


def _colour_size(value: float | None, usual: float | None) -> str:
    """Red above the usual size, blue below it."""
    if value is None or usual is None or not usual:
        return ""
    if not math.isfinite(value):
        return _colour(_LARGE, 1.0)
    if value <= 0:
        return _colour(_SMALL, 1.0)
    decades = math.log10(value / usual) / _DECADES
    return _colour(_LARGE if decades > 0 else _SMALL, abs(decades))


def _colour_share(value: float | None, harmless: float) -> str:
    """The redder, the nearer a share comes to 1; up to the harmless share it has no colour."""
    if value is None or math.isnan(value):
        return ""
    return _colour(_LARGE, (value - harmless) / (1 - harmless))


def _colour(colour: str, strength: float) -> str:
    opacity = round(0.65 * min(max(strength, 0.0), 1.0), 2)
    return f' style="background: rgba({colour}, {opacity})"' if opacity >= 0.03 else ""
