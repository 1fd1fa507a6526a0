"""The losses of predictions that know nothing of the input, and the smallest loss that an output
can reach at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fanin.losses import IGNORED, LossFunction, OutputLoss

OutputFunction = Callable[[Tensor], Tensor]
"""The activation that a model's output goes through."""

_STEPS = 60
"""Of L-BFGS; convex losses end after a few."""
_NUMBER_LIMIT = 2_000_000
"""Outputs with more numbers are not fitted: it would cost more than the probe."""


def find_reference_losses(
    loss: OutputLoss, target: Any, given: LossFunction | None
) -> tuple[float | None, float | None]:
    """The loss of an output that knows nothing (all classes alike, or 0), and of the best constant.

    Of a caller's loss only the second is known, by a search.
    """
    if loss.kind == "cross_entropy" and loss.classes is not None:
        return math.log(loss.classes), _measure_entropy(target, loss.classes)
    if loss.kind == "mse" and isinstance(target, Tensor):
        values = target.double()
        return float(values.square().mean()), float((values - values.mean(0)).square().mean())
    if loss.kind == "given" and loss.prediction is not None and given is not None:
        constant = fit_outputs(given, loss.prediction.detach(), target, constant=True)
        return None, None if constant is None else constant[1]
    return None, None


def _measure_entropy(target: Tensor, classes: int) -> float:
    labels = target.reshape(-1)
    labels = labels[labels != IGNORED].long()
    if not labels.numel():
        return 0.0
    shares = torch.bincount(labels, minlength=classes).double() / labels.numel()
    shares = shares[shares > 0]
    return float(-(shares * shares.log()).sum())


def fit_outputs(
    loss: LossFunction,
    like: Tensor,
    target: Any,
    *,
    through: OutputFunction | None = None,
    constant: bool = False,
) -> tuple[Tensor, float] | None:
    """The outputs of the smallest loss, found by L-BFGS, and that loss; None if it cannot be
    searched.

    Args:
        loss: of (output, target), or of the output if `target` is None.
        like: an output; the search starts from its mean, or from 0 before `through`.
        through: the activation that outputs come out of: only what it reaches is searched.
        constant: whether all samples get one output.
    """
    if not 0 < like.numel() <= _NUMBER_LIMIT or not like.is_floating_point() or not like.dim():
        return None
    shape = (1, *like.shape[1:]) if constant else tuple(like.shape)
    if through is None and bool(torch.isfinite(like).all()):
        middle = like.float().mean(0, keepdim=True)
        start = middle if constant else middle.expand(shape)
    else:
        start = torch.zeros(shape, device=like.device)
    free = start.clone().requires_grad_()

    def produce() -> Tensor:
        made = free if through is None else through(free)
        return made.expand(like.shape).clone() if constant else made.clone()

    def measure() -> Tensor:
        output = produce().to(like.dtype)
        return (loss(output) if target is None else loss(output, target)).mean()

    best: list[tuple[float, Tensor]] = []
    optimizer = torch.optim.LBFGS(
        [free], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def close() -> Tensor:
        optimizer.zero_grad()
        value = measure()
        if value.requires_grad:
            value.backward()
        number = float(value.detach())
        if math.isfinite(number) and (not best or number < best[0][0]):
            best[:] = [(number, produce().detach())]
        return value

    try:
        with torch.enable_grad():
            optimizer.step(close)
    except Exception:
        return None  # a loss of another form, such as one that needs the whole record
    return (best[0][1], best[0][0]) if best else None
