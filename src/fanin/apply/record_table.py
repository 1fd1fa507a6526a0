"""The cells and rows of a printed record, as wide as the output and at least 80 columns."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.screen import USUAL, count_columns

HEADINGS = ("parameter", "shape", "rule", "fan in/out", "gain", "std", "meas.")

_NARROWEST = (22, 12, 13, 10, 5, 6, 6)
"""Widths of the columns; with the spaces between them they make 80."""

_NUMBER_WIDTH = _NARROWEST[-1]


@dataclass(frozen=True)
class RecordColumns:
    """The columns of a printed record."""

    widths: tuple[int, ...]

    @classmethod
    def fit(cls) -> RecordColumns:
        """Columns for the output: what exceeds 80 goes to names, rules and shapes."""
        extra = max(count_columns() - USUAL, 0)
        name, shape, rule, *numbers = _NARROWEST
        shared = (name + extra - extra // 2, shape + extra // 8, rule + extra // 2 - extra // 8)
        return cls((*shared, *numbers))

    @property
    def total(self) -> int:
        """The width of a row."""
        return sum(self.widths) + len(self.widths) - 1

    def format_row(self, *cells: str) -> str:
        """The cells, each cut to the width of its column."""
        name, shape, rule, *numbers = map(shorten, cells, self.widths)
        widths = self.widths
        left = f"{name:<{widths[0]}} {shape:<{widths[1]}} {rule:<{widths[2]}}"
        return " ".join(
            [left, *(f"{text:>{width}}" for text, width in zip(numbers, widths[3:], strict=True))]
        )


def format_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def format_fans(fan_in: float | None, fan_out: float | None) -> str:
    return "–" if fan_in is None or fan_out is None else f"{fan_in:.6g}/{fan_out:.6g}"


def format_number(value: float | None) -> str:
    """Three significant digits, fewer if they do not fit, without the zero before the point:
    .0231.
    """
    if value is None:
        return "–"
    texts = (f"{value:.{digits}g}" for digits in (3, 2, 1))
    short = [text[1:] if text.startswith("0.") else text for text in texts]
    return next((text for text in short if len(text) <= _NUMBER_WIDTH), short[-1])


def format_share(part: int, whole: int) -> str:
    """A share in percent; less than all is never rounded to 100 %."""
    if part == whole:
        return "100 %"
    percent = 100 * part / whole
    return f"{min(percent, 99.9):.3g} %" if percent >= 0.1 else "< 0.1 %" if part else "0 %"


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def shorten_name(name: str, width: int) -> str:
    """A name that fits: leading parts of the path become their first letters, numbers stay, as in
    ``t.h.0.a.c_attn.weight``.
    """
    parts = name.split(".")
    for position, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= width:
            break
        parts[position] = part if part.isdigit() else part[:1]
    text = ".".join(parts)
    return text if len(text) <= width else "…" + text[1 - width :]
