"""Signal and gradient by depth, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fanin.diagnosis.views.layer_rows import (
    LayerRow,
    draw_bars,
    find_range,
    fold_layers,
    format_size,
    list_courses,
    sample_evenly,
)
from fanin.diagnosis.views.shown_audit import ShownAudit
from fanin.diagnosis.views.styled_lines import StyledLine, make_line

_NAME, _CHART, _NUMBERS = 24, 10, 16
"""Columns of a name, of bars and of numbers: 24 + 2·(1 + 10 + 1 + 16) = 80."""

_DEPTH_CHART = 48
_MOST_ROWS = 20

Range = tuple[float, float]


def format_layers(audit: ShownAudit) -> list[StyledLine]:
    """The course over all layers, and a row per layer or group of like layers."""
    if not audit.layers:
        return []
    sizes = [one.rms for one in audit.layers]
    gradients = [one.gradient_rms for one in audit.layers]
    ranges = find_range(sizes), find_range(gradients)
    lines = [make_line(), make_line(("Signal and gradient by depth", "strong"), ", log scale")]
    rows = fold_layers(audit.layers)
    if len(rows) > 1 and len(list_courses(audit.layers)) == 1:
        lines += [
            _draw_course("signal", sizes, ranges[0]),
            _draw_course("gradient", gradients, ranges[1]),
            make_line(),
        ]
    shown, hidden = rows, 0
    if len(rows) > _MOST_ROWS:
        shown, hidden = [*rows[: _MOST_ROWS - 3], *rows[-3:]], len(rows) - _MOST_ROWS
    lines.append(_head())
    for index, row in enumerate(shown):
        if hidden and index == len(shown) - 3:
            lines.append(
                make_line((f"… {hidden} more rows; the page has all (--html FILE)", "quiet"))
            )
        lines.append(_format_row(row, *ranges))
    return lines


def _draw_course(title: str, values: Sequence[float | None], scale: Range) -> StyledLine:
    bars = draw_bars(sample_evenly(values, _DEPTH_CHART), *scale)
    return make_line(f"  {title:<9} {bars}  {_format_ends(values)}")


def _head() -> StyledLine:
    width = _CHART + 1 + _NUMBERS
    return make_line((f"{'layer':<{_NAME}} {'signal':<{width}} {'gradient':<{width}}", "quiet"))


def _format_row(row: LayerRow, sizes: Range, gradients: Range) -> StyledLine:
    count = f" ({len(row.signals)}×)" if len(row.signals) > 1 else ""
    parts = [_shorten(_name_row(row), _NAME - len(count)) + count]
    text = f"{parts[0]:<{_NAME}} "
    return make_line(text, " ".join(_draw_column(row, sizes, gradients)))


def _name_row(row: LayerRow) -> str:
    """Layers of a Sequential have numbers only: the first and the last."""
    if set(row.name) <= set("*."):
        return f"{row.signals[0].name} … {row.signals[-1].name}"
    return row.name


def _draw_column(row: LayerRow, sizes: Range, gradients: Range) -> Iterator[str]:
    for values, scale in ((row.rms, sizes), (row.gradients, gradients)):
        bars = draw_bars(sample_evenly(values, _CHART), *scale)
        yield f"{bars:<{_CHART}} {_format_ends(values):<{_NUMBERS}}"


def _format_ends(values: Sequence[float | None]) -> str:
    """The first and the last number; one if they look alike."""
    first, last = format_size(values[0]), format_size(values[-1])
    return first if first == last else f"{first} → {last}"


def _shorten(name: str, width: int) -> str:
    """The end of a name, which says more than its beginning; whole components if possible."""
    if len(name) <= width:
        return name
    end = name[len(name) - width + 1 :]
    _, dot, components = end.partition(".")
    return f"…{components}" if dot and len(components) > width // 2 else f"…{end}"
