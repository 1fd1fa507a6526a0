"""The model of a cell."""

from __future__ import annotations

from fanin import models
from fanin.cell.cell import Cell
from fanin.models import Model


def make_model(cell: Cell) -> Model:
    """The model of a cell, with the cell's activation and normalization among its options."""
    return models.get(cell.model, cell.activation, cell.normalization)
