"""The model that a cell names."""

from __future__ import annotations

from fanin import models
from fanin.cell.cell import Cell
from fanin.models import Model


def model_of(cell: Cell) -> Model:
    """The model of a cell, its activation and normalization folded back into its options."""
    return models.get(cell.model, cell.activation, cell.normalization)
