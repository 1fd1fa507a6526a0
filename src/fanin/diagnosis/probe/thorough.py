"""What the level full measures beside the probe: Jacobians, and a few steps from several seeds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.probe.start_measurement import set_train_mode
from fanin.diagnosis.probe.training_steps import LEARNING_RATE
from fanin.diagnosis.theory.jacobian import JacobianSpectrum, measure_jacobian
from fanin.diagnosis.theory.partial_jacobians import PartialJacobian, estimate_apjn
from fanin.errors import FaninError, quote
from fanin.losses import compute_loss
from fanin.structure.forward_tracing import Batch, split_batch

STEPS, SEEDS = 20, 3


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """The loss on the batch itself after a few steps of Adam on it, from several seeds of what a
    model draws in training, such as dropout.
    """

    steps: int
    learning_rate: float
    before: tuple[float, ...]
    """One number for each seed."""
    after: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ThoroughMeasurement:
    """What could be measured; `notes` says why the rest could not."""

    jacobian: JacobianSpectrum | None
    partial_jacobians: tuple[PartialJacobian, ...]
    first_steps: FirstSteps | None
    notes: tuple[str, ...]


def measure_thoroughly(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    seed: int,
) -> ThoroughMeasurement:
    """Singular values of the Jacobian, partial Jacobian norms, and the first steps of training;
    the model is left unchanged.
    """
    notes: list[str] = []

    def attempt(what: str, measure: Callable[[], Any]) -> Any:
        try:
            return measure()
        except FaninError as error:
            notes.append(f"{what} could not be measured. {error}")
        except Exception as error:
            text = f"{type(error).__name__}: {quote(str(error), 200)}"
            notes.append(f"{what} could not be measured. {text}.")
        return None

    jacobian = attempt("The Jacobian", lambda: measure_jacobian(model, batch, seed=seed))
    partial = attempt("Partial Jacobians", lambda: estimate_apjn(model, batch, seed=seed))
    taken = None
    if target is not None or loss is not None:
        taken = attempt("First steps", lambda: _take_steps(model, batch, target, loss, seed))
    return ThoroughMeasurement(
        jacobian=jacobian,
        partial_jacobians=partial or (),
        first_steps=taken,
        notes=tuple(notes),
    )


def _take_steps(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    seed: int,
) -> FirstSteps:
    before, after = [], []
    for index in range(SEEDS):
        losses = _train(copy.deepcopy(model), batch, target, loss, seed + index)
        before.append(losses[0])
        after.append(losses[-1])
    return FirstSteps(
        steps=STEPS, learning_rate=LEARNING_RATE, before=tuple(before), after=tuple(after)
    )


def _train(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    seed: int,
) -> list[float]:
    parameters = [one for one in model.parameters() if one.requires_grad]
    losses = []
    with torch.inference_mode(False), seeds.preserve_torch_state(seed), torch.enable_grad():
        set_train_mode(model)
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        for step in range(STEPS + 1):
            args, kwargs = split_batch(batch)
            value = compute_loss(model(*args, **kwargs), target, loss).value
            losses.append(float(value.detach()))
            if step < STEPS:
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    return losses
