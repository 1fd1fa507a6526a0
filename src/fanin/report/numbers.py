"""Formatting of numbers: how many digits a column of measured values deserves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "—"

_ACCURACY_DECIMALS = 4
_MAX_DECIMALS = 4
_SIGNIFICANT = 4
# Losses of raw dollars² are written with a power of ten, errors in dollars with separators.
_LARGE, _SMALL = 1e6, 1e-3


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of one column are written. They share it, so that their decimals align."""

    decimals: int
    exponent: int = 0
    """Numbers are written as multiples of 10**exponent."""

    def text(self, value: float, spread: float = math.nan) -> str:
        """``0.9788``, ``50,578``, ``4.885e9``; with a spread ``0.9788 ± 0.0012``, ``(4.885 ±
        0.031)e9``.
        """
        if not math.isfinite(value):
            return NOTHING
        power = f"e{self.exponent}" if self.exponent else ""
        if not math.isfinite(spread):
            return self._plain(value) + power
        both = f"{self._plain(value)} ± {self._plain(spread)}"
        return f"({both}){power}" if power else both

    def _plain(self, value: float) -> str:
        return f"{value / 10**self.exponent:,.{self.decimals}f}"


def choose_number_format(
    metric: str, values: Iterable[float], spreads: Iterable[float] = ()
) -> NumberFormat:
    """The format for a metric's values and their spreads within one section.

    Accuracies have four decimals. Other values show two significant digits of the typical spread,
    or four significant digits of the typical value if the spread is unknown, with at most four
    decimals. Counts of epochs stay whole numbers if they are.
    """
    if metric.endswith("accuracy"):
        return NumberFormat(_ACCURACY_DECIMALS)
    sizes, widths = _sizes(values), _sizes(spreads)
    if metric.endswith("epochs"):
        return NumberFormat(0 if all(size == round(size) for size in sizes) and not widths else 1)
    typical = _find_median(sizes) if sizes else 1.0
    scaled = typical >= (_LARGE if metric.endswith("loss") else _LARGE * 1e3) or typical < _SMALL
    exponent = math.floor(math.log10(typical)) if scaled else 0
    digits = (
        1 - _magnitude(_find_median(widths)) if widths else _SIGNIFICANT - 1 - _magnitude(typical)
    )
    return NumberFormat(min(max(digits + exponent, 0), _MAX_DECIMALS), exponent)


def _sizes(values: Iterable[float]) -> Sequence[float]:
    return [abs(value) for value in values if math.isfinite(value) and value != 0]


def _find_median(values: Sequence[float]) -> float:
    ordered = sorted(map(float, values))
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _magnitude(value: float) -> int:
    return math.floor(math.log10(value))
