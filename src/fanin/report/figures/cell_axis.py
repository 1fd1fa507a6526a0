"""The axis of a heat map: a factor's values, and the edges of the cells around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fanin.analysis.design import is_numeric
from fanin.analysis.factors import is_number
from fanin.report.figures.scales import FactorScale, compute_edges

MAX_VALUES = 40
"""Values of a factor that a heat map can show."""


@dataclass(frozen=True)
class CellAxis:
    """One factor as an axis: its values and the edges of the cells around them."""

    name: str
    values: list[Any]
    edges: np.ndarray
    numeric: bool
    scale: FactorScale

    def get_cell(self, value: Any) -> tuple[float, float]:
        """The edges of the cells of a value."""
        i = self.values.index(value)
        return self.edges[i], self.edges[i + 1]

    def compute_middle(self, value: Any) -> float:
        """The middle of the cells of a value, as seen."""
        low, high = map(self.scale.to_position, self.get_cell(value))
        return self.scale.to_value((low + high) / 2)

    def compute_least_share(self) -> float:
        """The share of the axis that the smallest cells take."""
        edges = np.array([self.scale.to_position(edge) for edge in self.edges])
        return float(np.diff(edges).min() / (edges[-1] - edges[0]))


def make_cell_axis(frame: pd.DataFrame, name: str) -> CellAxis:
    """The axis of a factor: at its numbers, or a cell of one width for each word."""
    values = list(dict.fromkeys(frame[name]))[:MAX_VALUES]
    if is_numeric(frame, name):
        values = sorted(value for value in values if is_number(value))
        scale = FactorScale.choose(values)
        return CellAxis(name, values, compute_edges(values, scale), True, scale)
    scale = FactorScale(log=False)
    return CellAxis(name, values, np.arange(len(values) + 1) - 0.5, False, scale)
