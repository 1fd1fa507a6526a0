"""The weights of a cell before and after training, and its result."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from fanin.cell.result import Result
from fanin.study.canonical_cell import make_cell
from fanin.training.train import DataCache, train


class TrainedWeights(NamedTuple):
    """Parameters by name."""

    initial: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    """Those of the epoch with the lowest validation loss."""
    result: Result


def train_weights(cache: DataCache, **fields: Any) -> TrainedWeights:
    """Train the cell with these fields in this process, and return its weights."""
    from safetensors.torch import load_file

    cell = make_cell({"data": "digits", "protocol": "full-length", "batch_size": 64, **fields})
    with tempfile.TemporaryDirectory() as folder:
        result = train(cell, cache=cache, environment={}, weights=Path(folder))
        initial, best = (
            load_file(Path(folder, f"{cell.id}.{which}.safetensors"))
            for which in ("initial", "best")
        )
    return TrainedWeights(initial, best, result)
