"""CellInitializer: what a user's trainer calls on its model."""

from __future__ import annotations

import time
from typing import Any

from torch import nn

from fanin import apply, initializers, seeds
from fanin.apply import Record
from fanin.cell.cell import Cell
from fanin.errors import UsageError
from fanin.initializers import Initializer
from fanin.training.initial_weights import describe_fit

_OF_CELL = ("rules", "seed", "shared_stream")
"""Arguments of `fanin.initialize` that the cell gives."""


class CellInitializer:
    """A cell's initializer and its seed, to be called on a model: ``initialize(model)``.

    All initializers of a replicate draw from the same standard-normal numbers, as in fanin's own
    loop. A second model of the same cell, such as a decoder, gets other numbers: its seed is
    derived from the cell's and its number.
    """

    def __init__(self, cell: Cell) -> None:
        self.spec = cell.initializer
        """The canonical spec, such as ``he_normal``."""
        self.initializer: Initializer = initializers.get(cell.initializer)
        """The rule itself, to name it again: ``initialize(model, embeddings=…)``."""
        self.seed = cell.derive_seed("init")
        self.seconds = 0.0
        """What the calls have taken."""
        self.fit: dict[str, str] = {}
        """By parameter, what an initializer that looks at data did with it."""
        self._biases, self._shared_stream = cell.biases, cell.shared_stream
        self._models: list[nn.Module] = []

    @property
    def was_called(self) -> bool:
        """Whether any model was initialized."""
        return bool(self._models)

    def __call__(self, model: nn.Module, **options: Any) -> Record:
        """Initialize a model in place, as `fanin.initialize` does, and return the record.

        Args:
            model: the module.
            options: those of `fanin.initialize` but `rules`, `seed` and `shared_stream`: `batch`,
                `target`, `loss`, `only`, `exclude`, `embeddings`, …. An initializer that looks
                at data, such as lsuv, needs `batch`, and one that looks at the loss `target` or
                `loss` too; others take no notice of the loss.
        """
        if given := [name for name in _OF_CELL if name in options]:
            raise UsageError(
                f"initialize takes {' and '.join(given)} from the study's cell. Leave "
                f"{'it' if len(given) == 1 else 'them'} out: initialize(model), or "
                "fanin.initialize(model, …) for a rule of your own."
            )
        if self._biases is not None:
            options.setdefault("biases", self._biases)
        started = time.perf_counter()
        record = apply.initialize(
            model,
            self.initializer,
            seed=self._choose_seed(model),
            shared_stream=self._shared_stream,
            **options,
        )
        self.seconds += time.perf_counter() - started
        self.fit |= describe_fit(record)
        return record

    def __repr__(self) -> str:
        return f"<initialize by {self.spec}, seed {self.seed}>"

    def _choose_seed(self, model: nn.Module) -> int:
        """The cell's seed for its first model, others for further ones."""
        known = [number for number, other in enumerate(self._models) if other is model]
        number = known[0] if known else len(self._models)
        if not known:
            self._models.append(model)
        return seeds.derive_seed(self.seed, "model", number) if number else self.seed
