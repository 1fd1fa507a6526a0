"""Stochastic gradient descent with momentum and Nesterov's momentum, in torch's or Keras' form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fanin.errors import SpecError
from fanin.registry import Component, ComponentEntry
from fanin.training.optimizers.decay import Decay, check_decay, make_parameter_groups
from fanin.training.optimizers.optimizer import REGISTRY, Optimizer, require_share


@dataclass(frozen=True)
class SGD(Component, Optimizer):
    """θ ← θ − lr·g; with momentum μ, a velocity v takes the place of the gradient g:

    | form  | velocity                            | step         | step with ``nesterov`` |
    |-------|-------------------------------------|--------------|------------------------|
    | torch | v ← μ·v + (1 − dampening)·g; v₁ = g | θ ← θ − lr·v | θ ← θ − lr·(g + μ·v)   |
    | keras | v ← μ·v − lr·g                      | θ ← θ + v    | θ ← θ + μ·v − lr·g     |

    With a constant learning rate both forms take the same steps. When a schedule lowers it, torch
    multiplies the whole velocity by the new rate, while each gradient in Keras' velocity keeps the
    rate of its own step: after a drop by 10 with μ = 0.9 and equal gradients, Keras' next step is
    9.1 times torch's.

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
        changed = {
            "nesterov": self.nesterov,
            "dampening": self.dampening > 0,
            "form": self.form == "keras",
        }
        for option in (option for option, is_changed in changed.items() if is_changed):
            if self.momentum == 0:
                raise SpecError(
                    f"sgd({option}=…) changes nothing without momentum. Give momentum too, such as "
                    f"momentum=0.9, or leave {option} out."
                )
        if changed["dampening"] and (changed["nesterov"] or changed["form"]):
            raise SpecError(
                "sgd(dampening=…) cannot be combined with nesterov=true or form=keras. Leave one "
                "out."
            )

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """torch's SGD, fused if that is exact and faster, or Keras' form of it."""
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
            _initialize_velocities(sgd)
        return sgd


class VelocitySGD(torch.optim.Optimizer):
    """SGD with a velocity in units of the parameters, as in Keras; see `SGD`.

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
        """One step along the gradients; the closure is ignored."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["weight_decay"]:
                    parameter.mul_(1 - lr * group["weight_decay"])
                velocity = (
                    self._get_velocity(parameter).mul_(momentum).sub_(parameter.grad, alpha=lr)
                )
                if group["nesterov"]:
                    parameter.add_(velocity, alpha=momentum).sub_(parameter.grad, alpha=lr)
                else:
                    parameter.add_(velocity)

    def _get_velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        velocity: Tensor = state["velocity"]
        return velocity


def _initialize_velocities(sgd: torch.optim.Optimizer) -> None:
    """Start from velocities of zero, so that the first step gives v = g.

    Without this, fused SGD fails if a parameter gets its first gradient later than another one.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(
                parameter, memory_format=torch.preserve_format
            )


REGISTRY.add(
    ComponentEntry(
        component=SGD,
        summary="Stochastic gradient descent; momentum, nesterov, Keras' velocity (form=keras).",
    )
)
