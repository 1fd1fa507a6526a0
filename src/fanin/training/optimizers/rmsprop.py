"""RMSprop in torch's form, and in Keras'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fanin.registry import Component, ComponentEntry
from fanin.training.optimizers.decay import Decay, check_decay, make_parameter_groups
from fanin.training.optimizers.optimizer import REGISTRY, Optimizer
from fanin.training.optimizers.ranges import require_not_negative, require_share

Form = Literal["torch", "keras"]

_DEFAULTS: dict[Form, dict[str, float]] = {
    "torch": {"rho": 0.99, "epsilon": 1e-8},
    "keras": {"rho": 0.9, "epsilon": 1e-7},
}


@dataclass(frozen=True)
class RMSprop(Component, Optimizer):
    """s ← ρ·s + (1 − ρ)·g², and then, with momentum μ (0: θ moves by the newest term alone):

    ========  ===========================================  =====  ======  ===================================
    form      step                                         ρ      ε       weight decay λ
    ========  ===========================================  =====  ======  ===================================
    torch     v ← μ·v + g / (√s + ε), θ ← θ − lr·v         0.99   1e-8    coupled: g ← g + λ·θ
    keras     v ← μ·v + lr·g / √(s + ε), θ ← θ − v         0.9    1e-7    decoupled: θ ← θ − lr·λ·θ, before
    ========  ===========================================  =====  ======  ===================================

    With |g| = 1e-4 and ρ = 0.9 the first step of Keras' form is a tenth of what it were with the same ε outside the root: where
    s is small, ε under the root weighs as much as √ε = 3e-4 beside it. ``centered`` puts s − ḡ² for s into the root, with
    ḡ ← ρ·ḡ + (1 − ρ)·g.

    `rho` (torch calls it alpha) and `epsilon` are those of the form unless given; a value that
    equals the form's becomes None, so that it has one spec.

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

    def check(self) -> None:
        """Raise `SpecError` for an option out of range, or one that would change nothing."""
        require_share("rmsprop(rho=…)", self.settled("rho"))
        require_not_negative("rmsprop(epsilon=…)", self.settled("epsilon"))
        require_share("rmsprop(momentum=…)", self.momentum)
        check_decay("rmsprop", self.weight_decay, self.decay)
        for name, default in _DEFAULTS[self.form].items():
            if getattr(self, name) == default:
                object.__setattr__(self, name, None)

    def settled(self, name: Literal["rho", "epsilon"]) -> float:
        """ρ or ε: as given, or the form's own."""
        given: float | None = getattr(self, name)
        return _DEFAULTS[self.form][name] if given is None else given

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """torch's RMSprop, which has no fused form, or Keras' form of it."""
        groups = make_parameter_groups(model, self.weight_decay, self.decay)
        rho, epsilon = self.settled("rho"), self.settled("epsilon")
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
    (decoupled). The state of a parameter is `square_average`, and where they are used `average` and
    `velocity`.
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
        """One step along the gradients; a closure is not taken."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        lr, rho = group["lr"], group["rho"]
        if group["weight_decay"]:
            parameter.mul_(1 - lr * group["weight_decay"])
        square = (
            self._memory(parameter, "square_average")
            .mul_(rho)
            .addcmul_(gradient, gradient, value=1 - rho)
        )
        if group["centered"]:
            average = self._memory(parameter, "average").mul_(rho).add_(gradient, alpha=1 - rho)
            square = square.addcmul(average, average, value=-1)
        root = square.add(group["epsilon"]).sqrt_()
        if group["momentum"]:
            velocity = (
                self._memory(parameter, "velocity")
                .mul_(group["momentum"])
                .addcdiv_(gradient, root, value=lr)
            )
            parameter.sub_(velocity)
        else:
            parameter.addcdiv_(gradient, root, value=-lr)

    def _memory(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        memory: Tensor = state[name]
        return memory


REGISTRY.add(
    ComponentEntry(
        component=RMSprop,
        summary="RMSprop with torch's defaults, or Keras' RMSprop (form=keras)",
    )
)
