"""A user's optimizer: Lion, without weight decay.

Source: Chen et al. 2023, https://arxiv.org/abs/2302.06675, Algorithm 2.

In a study:

    optimizer = "examples/my_optimizer.py:make(beta2=0.95)"
    learning_rate = 0.0003
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Lion(torch.optim.Optimizer):
    """θ ← θ − lr · sign(β₁ m + (1 − β₁) g), then m ← β₂ m + (1 − β₂) g."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, beta1: float, beta2: float
    ) -> None:
        super().__init__(parameters, {"lr": lr, "beta1": beta1, "beta2": beta2})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        parameter.sub_(torch.lerp(gradient, momentum, group["beta1"]).sign_(), alpha=group["lr"])
        momentum.lerp_(gradient, 1 - group["beta2"])


def make(
    parameters: Iterable[nn.Parameter], lr: float, *, beta1: float = 0.9, beta2: float = 0.99
) -> torch.optim.Optimizer:
    """Return Lion over the parameters.

    A schedule changes ``lr`` in its groups. All of its state is tensors, so training can resume.
    """
    return Lion(parameters, lr, beta1, beta2)
