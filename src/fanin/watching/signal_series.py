"""The signals of one training in the order of time: what verdicts, tables and figures read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from fanin.watching.layer_reading import ALL, STATISTICS, Reading

Values = Mapping[str, tuple[float, ...]]
"""Layer → its values in the order of time; nan where there is none."""


@dataclass(frozen=True)
class SignalSeries:
    """Every statistic of every layer at every time that was measured."""

    unit: Literal["step", "epoch"]
    """What `times` count."""
    times: tuple[int, ...]
    """Steps from 1; or epochs completed before the measured step, from 0."""
    layers: tuple[str, ...]
    """In the order of computation, without `ALL`."""
    values: Mapping[str, Values]
    """By the names of `STATISTICS`; layers without a value at any time are missing."""

    @property
    def weighted(self) -> tuple[str, ...]:
        """The layers that have weights, without activations."""
        known = self.values.get("weight_norm", {})
        return tuple(name for name in self.layers if name in known)

    @property
    def trained(self) -> tuple[str, ...]:
        """The layers that ever had a gradient."""
        known = self.values.get("gradient_rms", {})
        return tuple(name for name in self.layers if name in known)

    def get(self, statistic: str, layer: str = ALL) -> tuple[float, ...]:
        """The values of a layer by time; nan where there is none."""
        nothing = (math.nan,) * len(self.times)
        return self.values.get(statistic, {}).get(layer, nothing)

    def compare_gradients(self) -> tuple[float, ...]:
        """The rms of the first layer's gradient over the last layer's, by time.

        nan without two trained layers. 0 / 0, where neither has a gradient, is nan too.
        """
        if len(self.trained) < 2:
            return (math.nan,) * len(self.times)
        first = self.get("gradient_rms", self.trained[0])
        last = self.get("gradient_rms", self.trained[-1])
        return tuple(_divide(one, other) for one, other in zip(first, last, strict=True))


def make_series(readings: Iterable[Reading]) -> SignalSeries:
    """The series of the readings of a watch, by step."""
    found = list(readings)
    columns: dict[tuple[str, str], list[float]] = {}
    order: dict[str, None] = {}
    for place, reading in enumerate(found):
        for layer in reading.layers:
            order.setdefault(layer.name)
            for statistic, value in layer.values.items():
                column = columns.setdefault((statistic, layer.name), [math.nan] * len(found))
                column[place] = value
    return arrange_series("step", [reading.step for reading in found], order, columns)


def arrange_series(
    unit: Literal["step", "epoch"],
    times: Iterable[int],
    layers: Iterable[str],
    columns: Mapping[tuple[str, str], Iterable[float]],
) -> SignalSeries:
    """The series of columns by (statistic, layer)."""
    values: dict[str, dict[str, tuple[float, ...]]] = {}
    known = [name for name in STATISTICS if any(key[0] == name for key in columns)]
    for statistic in known:
        values[statistic] = {
            layer: tuple(column) for (name, layer), column in columns.items() if name == statistic
        }
    return SignalSeries(unit, tuple(times), tuple(x for x in layers if x != ALL), values)


def _divide(one: float, other: float) -> float:
    if other:
        return one / other
    return math.inf if one else math.nan
