"""Optimizers of a cell: named options, and a torch optimizer made from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from fanin import specs
from fanin.errors import SpecError
from fanin.registry import Registry

KERAS_EPSILON = 1e-7


class OptimizerOptions(Protocol):
    """A frozen dataclass of options that can make a torch optimizer."""

    def make(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer: ...


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980).

    θ ← θ − lr · m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ): torch's form, the paper's Algorithm 1.

    ``epsilon="keras"`` gives Keras' Adam: ε = 1e-7 is added to √v *before* bias correction (the form before Section 2.1 of
    the paper), which equals torch's form with ε / √(1 − β₂ᵗ) in step t. With |g| = 1e-6, five such steps move a weight less
    than half as far as with a constant ε of 1e-7.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float | Literal["keras"] = 1e-8

    def __post_init__(self) -> None:
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= beta < 1:
                raise SpecError(f"adam({name}=…) must be at least 0 and below 1, not {beta}.")
        if self.epsilon != "keras" and self.epsilon < 0:
            raise SpecError(f"adam(epsilon=…) must be at least 0, or keras, not {self.epsilon}.")

    def make(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """torch's fused Adam over the parameters; Keras' ε is set anew before each step."""
        keras = self.epsilon == "keras"
        constant = KERAS_EPSILON if self.epsilon == "keras" else self.epsilon
        adam = torch.optim.Adam(parameters, lr=lr, betas=(self.beta1, self.beta2), eps=constant, fused=True)
        if keras:
            adam.register_step_pre_hook(_set_keras_epsilon)
        return adam


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer by name."""

    name: str
    summary: str
    options: type[OptimizerOptions]


OPTIMIZERS: Registry[OptimizerEntry] = Registry("optimizer", OptimizerEntry)

OPTIMIZERS.add(OptimizerEntry(name="adam", summary="Adam with torch's epsilon (1e-8), or Keras' (epsilon=keras)", options=Adam))


def get(spec: str) -> tuple[str, OptimizerOptions]:
    """The canonical spec and the options of an optimizer's spec string."""
    name, options = specs.parse(spec)
    made = specs.construct(name, OPTIMIZERS.get(name).options, options)
    return specs.identity(name, made), made


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as named tensors: ``<index of the parameter>.<name>``."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{index}.{key}": value
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put `state_tensors` back, into tensors that keep each parameter's strides.

    Differs from ``load_state_dict``, which takes the strides of what was stored; a stored tensor is contiguous, and fused Adam
    on channels_last weights then pairs wrong elements in silence.
    """
    steps = 0
    for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        state: dict[str, Any] = {}
        for key, value in tensors.items():
            owner, _, name = key.partition(".")
            if int(owner) != index:
                continue
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
            else:
                state[name] = value.to(parameter.device, copy=True)
        optimizer.state[parameter] = state
        steps = int(state["step"]) if "step" in state else steps
    for group in optimizer.param_groups:
        group["steps_done"] = steps


def _set_keras_epsilon(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["steps_done"] = group.get("steps_done", 0) + 1
        beta2 = group["betas"][1]
        group["eps"] = KERAS_EPSILON / math.sqrt(1 - beta2 ** group["steps_done"])
