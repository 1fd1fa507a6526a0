"""Adam and AdamW, with torch's epsilon or Keras'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from fanin.registry import Component, ComponentEntry
from fanin.training.optimizers.decay import Decay, check_decay, make_parameter_groups
from fanin.training.optimizers.optimizer import (
    REGISTRY,
    Optimizer,
    require_not_negative,
    require_share,
)

KERAS_EPSILON = 1e-7

Epsilon = float | Literal["keras"]


@dataclass(frozen=True)
class Adam(Component, Optimizer):
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980).

    θ ← θ − lr · m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ): torch's form, the
    paper's Algorithm 1.

    ``epsilon="keras"`` gives Keras' Adam: ε = 1e-7 is added to √v *before* bias correction (the
    form before Section 2.1 of the paper), which equals torch's form with ε / √(1 − β₂ᵗ) in step t.
    With |g| = 1e-6, five such steps move a weight less than half as far as with a constant ε of
    1e-7.

    Weight decay λ is coupled, g ← g + λ·θ, as in torch: the moments see it. Keras'
    ``Adam(weight_decay=…)`` is decoupled, and so equals `AdamW`.
    """

    name: ClassVar[str] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: float = 0.0
    decay: Decay = "weights"

    def check(self) -> None:
        """Raise `SpecError` for an option out of range, or one that would change nothing."""
        _check_options("adam", self)

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """torch's fused Adam; with Keras' ε, a hook sets ε before each step."""
        groups = make_parameter_groups(model, self.weight_decay, self.decay)
        adam = torch.optim.Adam(
            groups,
            lr=lr,
            betas=(self.beta1, self.beta2),
            eps=_get_constant(self.epsilon),
            fused=True,
        )
        return _add_keras_epsilon(adam) if self.epsilon == "keras" else adam


@dataclass(frozen=True)
class AdamW(Component, Optimizer):
    """AdamW: `Adam`'s step after θ ← θ − lr · λ · θ, so that the moments do not see the decay.

    The defaults are torch's. Keras' AdamW is ``adamw(epsilon=keras, weight_decay=0.004,
    decay=all)``.

    Differs from the paper, which multiplies λ by the schedule's factor and not by the learning
    rate.

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    name: ClassVar[str] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: float = 0.01
    decay: Decay = "weights"

    def check(self) -> None:
        """Raise `SpecError` for an option out of range, or one that would change nothing."""
        _check_options("adamw", self)

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """torch's fused AdamW; with Keras' ε, a hook sets ε before each step."""
        groups = make_parameter_groups(model, self.weight_decay, self.decay)
        adam = torch.optim.AdamW(
            groups,
            lr=lr,
            betas=(self.beta1, self.beta2),
            eps=_get_constant(self.epsilon),
            fused=True,
        )
        return _add_keras_epsilon(adam) if self.epsilon == "keras" else adam


def _check_options(name: str, options: Adam | AdamW) -> None:
    require_share(f"{name}(beta1=…)", options.beta1)
    require_share(f"{name}(beta2=…)", options.beta2)
    if options.epsilon != "keras":
        require_not_negative(f"{name}(epsilon=…), unless it is keras,", options.epsilon)
    check_decay(name, options.weight_decay, options.decay)


def _get_constant(epsilon: Epsilon) -> float:
    return KERAS_EPSILON if epsilon == "keras" else epsilon


def _add_keras_epsilon(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    optimizer.register_step_pre_hook(_set_keras_epsilon)
    return optimizer


def _set_keras_epsilon(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["steps_done"] = group.get("steps_done", 0) + 1
        beta2 = group["betas"][1]
        group["eps"] = KERAS_EPSILON / math.sqrt(1 - beta2 ** group["steps_done"])


REGISTRY.add(
    ComponentEntry(
        component=Adam,
        summary="Adam with torch's epsilon (1e-8), or Keras' (epsilon=keras).",
    )
)
REGISTRY.add(
    ComponentEntry(
        component=AdamW,
        summary="Adam with decoupled weight decay (0.01; Keras has 0.004).",
    )
)
