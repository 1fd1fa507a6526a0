"""A few steps of training on a copy: whether what gets no gradient at the start gets one later."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.probe.start_measurement import set_train_mode
from fanin.errors import FitError, quote
from fanin.losses import compute_loss
from fanin.structure import list_bare_names
from fanin.structure.forward_tracing import Batch, split_batch

LEARNING_RATE = 1e-3
"""Adam's default: the step that most people begin with."""


@dataclass(frozen=True)
class Awakening:
    """What a few steps showed."""

    steps: int
    """The steps that were taken."""
    first_gradient: dict[str, int | None]
    """Of each parameter that was watched, the number of steps after which its gradient was not
    zero; None if it always was.
    """


def follow_steps(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    watched: Collection[str],
    steps: int,
    seed: int = 0,
) -> Awakening:
    """Train a copy by Adam on one batch until all watched parameters have had a gradient.

    Raises `FitError` if the model cannot be copied.
    """
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise FitError(
            f"The model cannot be copied: {type(error).__name__}: {quote(str(error), 200)}."
        ) from error
    names = list_bare_names(twin)
    parameters = {names[name]: one for name, one in twin.named_parameters() if one.requires_grad}
    found: dict[str, int | None] = dict.fromkeys(watched)
    with torch.inference_mode(False), seeds.preserve_torch_state(seed), torch.enable_grad():
        set_train_mode(twin)
        optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE)
        for step in range(steps + 1):
            _differentiate(twin, batch, target, loss, parameters)
            for name in watched:
                if found[name] is None and _has_gradient(parameters[name]):
                    found[name] = step
            if all(one is not None for one in found.values()) or step == steps:
                return Awakening(step, found)
            optimizer.step()
    raise AssertionError


def _differentiate(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    parameters: dict[str, nn.Parameter],
) -> None:
    args, kwargs = split_batch(batch)
    value = compute_loss(model(*args, **kwargs), target, loss).value
    leaves = list(parameters.values())
    gradients = (
        torch.autograd.grad(value, leaves, allow_unused=True)
        if value.requires_grad
        else [None] * len(leaves)
    )
    for parameter, gradient in zip(leaves, gradients, strict=True):
        parameter.grad = gradient


def _has_gradient(parameter: nn.Parameter) -> bool:
    gradient = parameter.grad
    if gradient is None:
        return False
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.any())
