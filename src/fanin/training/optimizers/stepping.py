"""What happens around a step: the learning rate is set, and gradients are clipped."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from the next step on, in all groups.

    A group with a recorded share (`record_rate_shares`) gets that share of `lr`. The rate is a
    Python float: it costs no copy to a device and no synchronisation.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0)


def record_rate_shares(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Record each group's rate as a share of `lr`, for `set_rate`."""
    for group in optimizer.param_groups:
        group["share"] = group["lr"] / lr


def calls_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``step`` requires a function that computes the loss and its gradients."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def clip_gradients_(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients by min(1, max_norm / (‖g‖ + 1e-6)), in place, and return ‖g‖.

    ‖g‖ is the Euclidean norm over the gradients of all parameters together, before clipping: a
    tensor of one element on their device, so that nothing waits for it. Parameters without a
    gradient are left out. If ‖g‖ is not finite, the gradients become NaN or 0, and the weights show
    it after the next step.

    This is ``torch.nn.utils.clip_grad_norm_``; Keras' ``global_clipnorm`` lacks the 1e-6.

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False)
