"""What the findings are judged by: everything that is known of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from fanin.diagnosis.held_parameters import HeldParameter, list_held
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.theory import Prediction, predict
from fanin.losses import compute_loss
from fanin.structure import ModelStructure

Level = Literal["fast", "full"]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """One model, what it was given, and what was measured. Judges read it and change nothing."""

    model: nn.Module
    """The bare model."""
    batch: Any
    target: Any
    loss: Callable[..., Tensor] | None
    """The caller's loss of (output, target), if any."""
    measurement: Measurement | None
    """None if the model could not be run: `problem` says why."""
    structure: ModelStructure | None
    problem: str = ""
    loss_problem: str = ""
    """Why the loss of the target could not be computed, if so."""
    expected: Mapping[str, Tensor] | None = None
    """A state dict that the model should hold."""
    level: Level = "fast"
    seed: int = 0
    notes: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""
    worked_out: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What several judges need and one has worked out, such as the moments of every weight."""

    def add_note(self, text: str) -> None:
        """Say that something could not be looked at."""
        self.notes.append(text)

    @cached_property
    def prediction(self) -> Prediction | None:
        """What theory says of the measured model; None if nothing was measured."""
        return None if self.measurement is None else predict(self.model, self.measurement)

    @property
    def loss_function(self) -> Callable[..., Tensor] | None:
        """The loss as a function of (output, target): the caller's, or what the target implies;
        None if there is none.
        """
        if self.loss is not None:
            return self.loss
        if self.target is None:
            return None
        return lambda output, target: compute_loss(output, target, None).value

    @cached_property
    def held(self) -> tuple[HeldParameter, ...]:
        """Every parameter once, with its role and the numbers that it holds."""
        return list_held(self.model)
