"""The cells and rows of a printed record, which is at most 80 columns wide."""

from __future__ import annotations

WIDTH = 80

WIDTHS = (22, 12, 13, 10, 5, 6, 6)
"""Of the columns; with the spaces between them they make `WIDTH`."""
HEADINGS = ("parameter", "shape", "rule", "fan in/out", "gain", "std", "meas.")


def format_row(*cells: str) -> str:
    name, shape, rule, *numbers = (
        shorten(cell, width) for cell, width in zip(cells, WIDTHS, strict=True)
    )
    left = f"{name:<{WIDTHS[0]}} {shape:<{WIDTHS[1]}} {rule:<{WIDTHS[2]}}"
    return " ".join(
        [left, *(f"{text:>{width}}" for text, width in zip(numbers, WIDTHS[3:], strict=True))]
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
    return next((text for text in short if len(text) <= WIDTHS[-1]), short[-1])


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
