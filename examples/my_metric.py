"""A user's metric: whether the true class is among the k most likely ones.

In a study:

    metrics = ["examples/my_metric.py:make(k=3)"]
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def make(*, k: int = 2) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs (N, classes) and targets (N,) that gives 1 or 0 for each sample.

    Its mean over the samples is reported.
    """

    def is_among_best(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.topk(k, dim=1).indices == targets.unsqueeze(1)).any(dim=1).float()

    return is_among_best
