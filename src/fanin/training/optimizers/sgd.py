"""Stochastic gradient descent: plain, with momentum, with Nesterov's momentum; torch's form, and
Keras'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fanin.errors import SpecError
from fanin.registry import Component, ComponentEntry
from fanin.training.optimizers.decay import Decay, check_decay, make_parameter_groups
from fanin.training.optimizers.optimizer import REGISTRY, Optimizer
from fanin.training.optimizers.ranges import require_share


@dataclass(frozen=True)
class SGD(Component, Optimizer):
    """θ ← θ − lr·g, or with momentum μ a velocity v in the gradient's place:

    ========  ===================================  ===================  ======================
    form      velocity                             step                 step with ``nesterov``
    ========  ===================================  ===================  ======================
    torch     v ← μ·v + (1 − dampening)·g; v₁ = g  θ ← θ − lr·v         θ ← θ − lr·(g + μ·v)
    keras     v ← μ·v − lr·g                       θ ← θ + v            θ ← θ + μ·v − lr·g
    ========  ===================================  ===================  ======================

    With a constant learning rate both forms take the same steps. When a schedule lowers it, torch's
    velocity is multiplied by the new rate at once, and Keras' goes on with the rates at which its
    gradients came: after a drop by 10 with μ = 0.9 and equal gradients, Keras' next step is 9.1
    times torch's.

    Weight decay λ: torch's form is coupled, g ← g + λ·θ; Keras' is decoupled, θ ← θ − lr·λ·θ before
    the step, so that the velocity does not see it.

    Sources: Polyak, Some methods of speeding up the convergence of iteration methods, 1964 (heavy
    ball); Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum in
    deep learning, 2013 (Nesterov's, with Keras' velocity).
    """

    name: ClassVar[str] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0
    weight_decay: float = 0.0
    decay: Decay = "weights"
    form: Literal["torch", "keras"] = "torch"

    def check(self) -> None:
        """Raise `SpecError` for an option out of range, or one that would change nothing."""
        require_share("sgd(momentum=…)", self.momentum)
        require_share("sgd(dampening=…)", self.dampening)
        check_decay("sgd", self.weight_decay, self.decay)
        for option, given in (
            ("nesterov", self.nesterov),
            ("dampening", self.dampening),
            ("form", self.form == "keras"),
        ):
            if given and self.momentum == 0:
                raise SpecError(
                    f"sgd({option}=…) changes nothing without momentum. Give momentum=0.9, say, or "
                    "leave it out."
                )
        if self.dampening and (self.nesterov or self.form == "keras"):
            raise SpecError(
                "sgd(dampening=…) is neither for nesterov=true nor for form=keras. Leave it out."
            )

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """torch's SGD, fused where that is exact and faster, or Keras' form of it."""
        groups = make_parameter_groups(model, self.weight_decay, self.decay)
        if self.form == "keras":
            return VelocitySGD(groups, lr=lr, momentum=self.momentum, nesterov=self.nesterov)
        fused = self.momentum > 0 and self.dampening == 0
        sgd = torch.optim.SGD(
            groups,
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            dampening=self.dampening,
            fused=fused or None,
        )
        if fused:
            _start_velocities(sgd)
        return sgd


class VelocitySGD(torch.optim.Optimizer):
    """SGD whose velocity is in units of the parameters, as Keras' is; see `SGD`.

    Groups have ``lr``, ``momentum``, ``nesterov`` and ``weight_decay`` (decoupled). The state of a
    parameter is its `velocity`.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, momentum: float, nesterov: bool
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.0}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients; a closure is not taken."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["weight_decay"]:
                    parameter.mul_(1 - lr * group["weight_decay"])
                velocity = self._velocity(parameter).mul_(momentum).sub_(parameter.grad, alpha=lr)
                if group["nesterov"]:
                    parameter.add_(velocity, alpha=momentum).sub_(parameter.grad, alpha=lr)
                else:
                    parameter.add_(velocity)

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        velocity: Tensor = state["velocity"]
        return velocity


REGISTRY.add(
    ComponentEntry(
        component=SGD,
        summary="stochastic gradient descent; momentum, nesterov, Keras' velocity (form=keras)",
    )
)


def _start_velocities(sgd: torch.optim.Optimizer) -> None:
    """Velocities of zero, from which the first step gives v = g: fused SGD fails where one
    parameter's gradient comes later.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(
                parameter, memory_format=torch.preserve_format
            )
