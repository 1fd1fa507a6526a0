"""A user's loss: cross-entropy that looks at hard samples, and at rare classes, more.

In a study:

    loss = "examples/my_loss.py:make(gamma=2.0)"
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def make(
    *, gamma: float = 1.0, outputs: int, class_counts: tuple[int, ...]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs (N, classes) and targets (N,) that gives a batch's mean loss.

    A sample whose class is predicted with probability p counts (1 − p)^γ (Lin et al., Focal Loss
    for Dense Object Detection, 2017), divided by the share of its class in the training set.
    """
    weight = sum(class_counts) / (outputs * torch.tensor(class_counts))

    def compute_loss(found: Tensor, targets: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(found, targets, weight=weight, reduction="none")
        probability = found.softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)
        return ((1 - probability) ** gamma * cross_entropy).mean()

    return compute_loss
