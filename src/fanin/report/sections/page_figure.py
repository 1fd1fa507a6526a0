"""A figure of the page: its caption, and the data that the page's script draws it from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fanin.report.escaping import escape_invisible

_DIGITS = 6
"""Significant digits of a number in a figure."""

_NOT_IN_MARKUP = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What could end or change the element that holds JSON, as escape sequences of JSON."""


@dataclass(frozen=True)
class PageFigure:
    """One figure."""

    title: str
    caption: str
    """What the marks mean, in sentences."""
    data: Mapping[str, Any]
    """JSON values: kind, names, panels and what else the kind needs."""

    def to_json(self) -> dict[str, Any]:
        """The data with the title."""
        return {**self.data, "title": self.title}


def encode_json(value: object) -> str:
    """JSON that can stand inside an element of HTML, whatever names are in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escaped in _NOT_IN_MARKUP.items():
        text = text.replace(character, escaped)
    return text


def round_number(value: float | None) -> float | int | None:
    """A number with as many digits as a figure shows; None if it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def round_numbers(values: ArrayLike) -> list[float | int | None]:
    """`round_number` of each."""
    return [round_number(value) for value in np.asarray(values, dtype=np.float64).tolist()]


def pick_places(length: int, most: int) -> list[int]:
    """At most so many places of a line, evenly spread, the first and the last among them."""
    if length <= most:
        return list(range(length))
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)})


def name_values(values: Iterable[object], form: Any) -> list[str]:
    """The names of values as the script shows them."""
    return [escape_invisible(form(value)) for value in values]


def join_sentences(sentences: Sequence[str]) -> str:
    """The sentences that are not empty, in one paragraph."""
    return " ".join(sentence for sentence in sentences if sentence)
