"""The layers of an audit as rows: what is alike in different blocks is one row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanin.diagnosis.measurement import Measurement, Signal

_NUMBER = re.compile(r"(?<![^.])\d+(?=\.|$)")
"""A component of a name that is a number."""

BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class LayerRow:
    """Layers of one role in different blocks, in the order of their computation."""

    name: str
    """Numbers of blocks written ``*``."""
    signals: tuple[Signal, ...]

    @property
    def rms(self) -> list[float | None]:
        """The size of each layer's output."""
        return [one.rms for one in self.signals]

    @property
    def gradients(self) -> list[float | None]:
        """The size of the gradient at each layer's output."""
        return [one.gradient_rms for one in self.signals]


def fold_layers(signals: Iterable[Signal]) -> list[LayerRow]:
    """Rows of layers whose names differ in numbers only, and that are of one class and width."""
    alike: dict[tuple[str, str, int | None], list[Signal]] = {}
    for one in signals:
        alike.setdefault((_NUMBER.sub("*", one.name), one.label, one.units), []).append(one)
    return [
        LayerRow(name if len(same) > 1 else same[0].name, tuple(same))
        for (name, _, _), same in alike.items()
    ]


def list_courses(signals: Sequence[Signal]) -> list[list[int]]:
    """The lines that are drawn through layers, as their places in the order of computation.

    One line through all, or one per row if rows alternate: in a transformer layers of different
    roles have different sizes, and a line through all of them would go up and down.
    """
    places: dict[int, int] = {id(one): index for index, one in enumerate(signals)}
    courses = [[places[id(one)] for one in row.signals] for row in fold_layers(signals)]
    long = sorted(course for course in courses if len(course) > 2)
    if any(after[0] < before[-1] for before, after in pairwise(long)):
        return courses
    return [list(range(len(signals)))]


def find_activation(measurement: Measurement, signal: Signal) -> Signal | None:
    """The activation that a layer's output goes into, also through a normalization."""
    nodes, users = measurement.signals, measurement.graph.users
    index = signal.node
    for _ in range(3):
        following = [nodes[user] for user in users[index] if user in nodes]
        if len(following) != 1:
            return None
        if following[0].kind == "activation":
            return following[0]
        if following[0].kind not in ("normalization", "transparent"):
            return None
        index = following[0].node
    return None


def draw_bars(values: Sequence[float | None], low: float, high: float) -> str:
    """One block per number, its height by the logarithm between those of `low` and `high`.

    Zero and None are a space and a dot; infinity is the highest block.
    """
    return "".join(_draw_bar(value, low, high) for value in values)


def _draw_bar(value: float | None, low: float, high: float) -> str:
    if value is None or math.isnan(value):
        return "·"
    if value <= 0:
        return " "
    if math.isinf(value) or value >= high:
        return BARS[-1] if high > low else BARS[3]
    share = (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return BARS[min(max(round(share * (len(BARS) - 1)), 0), len(BARS) - 1)]


def find_range(values: Iterable[float | None]) -> tuple[float, float]:
    """The smallest and largest positive finite number, at least a factor of ten apart."""
    found = [value for value in values if value and math.isfinite(value) and value > 0]
    low, high = (min(found), max(found)) if found else (1.0, 1.0)
    middle = math.sqrt(low) * math.sqrt(high)
    return min(low, middle / math.sqrt(10)), max(high, middle * math.sqrt(10))


def sample_evenly(values: Sequence[float | None], most: int) -> list[float | None]:
    """At most `most` of the numbers, evenly spread, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(index * step)] for index in range(most)]


def format_size(value: float | None) -> str:
    """A number with two or three digits: ``0.023``, ``1.45``, ``12,300``, ``3.1e-9``."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if 0.001 <= abs(value) < 100_000:
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def format_share(value: float | None) -> str:
    """A share in percent: ``0 %``, ``< 1 %``, ``37 %``."""
    if value is None or math.isnan(value):
        return "–"
    percent = 100 * value
    if 0 < percent < 1:
        return "<1 %"
    return f"{math.floor(percent) if 99 < percent < 100 else round(percent)} %"
