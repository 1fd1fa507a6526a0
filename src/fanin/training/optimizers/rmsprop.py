"""RMSprop in torch's form, and in Keras'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fanin.registry import Component, ComponentEntry
from fanin.training.optimizers.decay import Decay, check_decay, make_parameter_groups
from fanin.training.optimizers.optimizer import (
    REGISTRY,
    Optimizer,
    require_not_negative,
    require_share,
)

Form = Literal["torch", "keras"]

_DEFAULTS: dict[Form, dict[str, float]] = {
    "torch": {"rho": 0.99, "epsilon": 1e-8},
    "keras": {"rho": 0.9, "epsilon": 1e-7},
}


@dataclass(frozen=True)
class RMSprop(Component, Optimizer):
    """s ← ρ·s + (1 − ρ)·g², and then a step with momentum μ:

    | form  | step                               | ρ    | ε    | weight decay λ                  |
    |-------|------------------------------------|------|------|---------------------------------|
    | torch | v ← μ·v + g/(√s + ε), θ ← θ − lr·v | 0.99 | 1e-8 | coupled: g ← g + λ·θ            |
    | keras | v ← μ·v + lr·g/√(s + ε), θ ← θ − v | 0.9  | 1e-7 | decoupled: first θ ← θ − lr·λ·θ |

    With |g| = 1e-4 and ρ = 0.9, the first step of Keras' form is a tenth of what it would be with
    the same ε outside the root: if s is small, ε under the root has the effect of √ε = 3e-4 outside
    it. ``centered`` replaces s in the root by s − ḡ², with ḡ ← ρ·ḡ + (1 − ρ)·g.

    `rho` (torch's alpha) and `epsilon` default to those of the form. A value that equals the form's
    becomes None, so that one optimizer has one spec.

    Source: Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012; centred:
    Graves, Generating Sequences With Recurrent Neural Networks, 2013.
    """

    name: ClassVar[str] = "rmsprop"
    rho: float | None = None
    epsilon: float | None = None
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0
    decay: Decay = "weights"
    form: Form = "torch"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, default in _DEFAULTS[self.form].items():
            if getattr(self, option) == default:
                object.__setattr__(self, option, None)

    def check(self) -> None:
        """Raise `SpecError` for an option out of range, or one that would change nothing."""
        require_share("rmsprop(rho=…)", self.get_or_default("rho"))
        require_not_negative("rmsprop(epsilon=…)", self.get_or_default("epsilon"))
        require_share("rmsprop(momentum=…)", self.momentum)
        check_decay("rmsprop", self.weight_decay, self.decay)

    def get_or_default(self, name: Literal["rho", "epsilon"]) -> float:
        """ρ or ε: the option, or the default of the form."""
        given: float | None = getattr(self, name)
        return _DEFAULTS[self.form][name] if given is None else given

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """torch's RMSprop, which has no fused form, or Keras' form of it."""
        groups = make_parameter_groups(model, self.weight_decay, self.decay)
        rho, epsilon = self.get_or_default("rho"), self.get_or_default("epsilon")
        if self.form == "keras":
            return KerasRMSprop(
                groups,
                lr=lr,
                rho=rho,
                epsilon=epsilon,
                momentum=self.momentum,
                centered=self.centered,
            )
        return torch.optim.RMSprop(
            groups, lr=lr, alpha=rho, eps=epsilon, momentum=self.momentum, centered=self.centered
        )


class KerasRMSprop(torch.optim.Optimizer):
    """RMSprop with ε under the root and the learning rate inside the velocity; see `RMSprop`.

    Groups have ``lr``, ``rho``, ``epsilon``, ``momentum``, ``centered`` and ``weight_decay``
    (decoupled). The state of a parameter is `square_average`, and `average` and `velocity` if they
    are used.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        rho: float,
        epsilon: float,
        momentum: float,
        centered: bool,
    ) -> None:
        settings = {"rho": rho, "epsilon": epsilon, "momentum": momentum, "centered": centered}
        super().__init__(groups, {"lr": lr, **settings, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients; the closure is ignored."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        lr, rho = group["lr"], group["rho"]
        if group["weight_decay"]:
            parameter.mul_(1 - lr * group["weight_decay"])
        square = (
            self._get_state(parameter, "square_average")
            .mul_(rho)
            .addcmul_(gradient, gradient, value=1 - rho)
        )
        if group["centered"]:
            average = self._get_state(parameter, "average").mul_(rho).add_(gradient, alpha=1 - rho)
            square = square.addcmul(average, average, value=-1)
        root = square.add(group["epsilon"]).sqrt_()
        if group["momentum"]:
            velocity = (
                self._get_state(parameter, "velocity")
                .mul_(group["momentum"])
                .addcdiv_(gradient, root, value=lr)
            )
            parameter.sub_(velocity)
        else:
            parameter.addcdiv_(gradient, root, value=-lr)

    def _get_state(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        tensor: Tensor = state[name]
        return tensor


REGISTRY.add(
    ComponentEntry(
        component=RMSprop,
        summary="RMSprop with torch's defaults, or Keras' RMSprop (form=keras).",
    )
)
