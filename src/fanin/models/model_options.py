"""Checks of models' options, and of the sizes of their inputs, with one wording for all models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fanin import specs
from fanin.errors import FitError, SpecError, quote
from fanin.models import activations
from fanin.models.dropout import check_rate

MAX_WIDTH = 1_000_000

MAX_DEPTH = 10_000
"""Layers of a plain chain: the deepest that Xiao et al. trained, 2018."""


def canonicalize_options(name: str, options: Any) -> None:
    """Check the fields of a model's options and bring them into canonical form, in place.

    Every field is checked against its type. An `activation` that is one name loses its alias, and a
    `dropout` rate must be in [0, 1). For ``__post_init__``, so that equal networks have equal
    options.
    """
    specs.coerce_fields(name, options)
    activation = getattr(options, "activation", None)
    if isinstance(activation, str):
        set_option(options, "activation", activations.get(activation).name)
    if hasattr(options, "dropout"):
        check_rate(options.dropout)


def set_option(options: Any, name: str, value: object) -> None:
    """Set a field of a frozen dataclass; for ``__post_init__`` only."""
    object.__setattr__(options, name, value)


def check_widths(widths: Iterable[object], what: str) -> tuple[int, ...]:
    """`widths` as a tuple of one or more whole numbers from 1 to `MAX_WIDTH`, or a `SpecError`."""
    received = tuple(widths)
    valid = tuple(
        width
        for width in received
        if isinstance(width, int) and not isinstance(width, bool) and 1 <= width <= MAX_WIDTH
    )
    if not received or valid != received:
        raise SpecError(
            f"{what} is a list of at least one whole number from 1 to {MAX_WIDTH:,}, such as "
            f"[256, 128]; received {quote(list(received))}."
        )
    return valid


def check_count(value: int, what: str, most: int) -> None:
    """Raise `SpecError` unless `value` is from 1 to `most`."""
    if not 1 <= value <= most:
        raise SpecError(f"{what} is a whole number from 1 to {most:,}; received {quote(value)}.")


def require_size(name: str, input_shape: tuple[int, ...], smallest: int, advice: str) -> None:
    """Raise `FitError` for images (channels, height, width) with a side below `smallest`."""
    if min(input_shape[1:]) < smallest:
        raise FitError(
            f"{name} needs images of at least {smallest}×{smallest}; the data has "
            f"{format_shape(input_shape)}. {advice}"
        )


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape in words: 1×28×28."""
    return "×".join(map(str, shape)) or "()"
