"""The learning rate of an optimizer that exists."""

from __future__ import annotations

import torch


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Take `lr` from the next step on, in all groups. A plain float: it costs no copy to a device
    and no synchronisation.

    A group that was made with a rate of its own (`record_rate_shares`) keeps its share of it.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0)


def record_rate_shares(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Note in each group what part of `lr` its rate is, for `set_rate`."""
    for group in optimizer.param_groups:
        group["share"] = group["lr"] / lr
