"""Learning rates of their own for single parameters, as Fixup's scalars and muP ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fanin.initializers.model_level import Multiplier
from fanin.training.optimizers.stepping import record_rate_shares

_SAME = Multiplier(1.0, "")


def multiply_rates(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    multipliers: Mapping[str, Multiplier],
    lr: float,
) -> None:
    """Let each parameter that a method names train at its factor times the learning rate.

    A group of the optimizer falls into one for each pair of factors, of the rate and of weight
    decay. A schedule keeps their ratios. Without multipliers nothing changes.
    """
    if not multipliers:
        return
    chosen = {id(one): multipliers.get(name, _SAME) for name, one in model.named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[tuple[float, float], dict[str, Any]] = {}
        for parameter in group["params"]:
            factor = chosen[id(parameter)]
            part = parts.setdefault((factor.factor, factor.decay), {**group, "params": []})
            part["params"].append(parameter)
            part["lr"] = group["lr"] * factor.factor
            if "weight_decay" in group:
                part["weight_decay"] = group["weight_decay"] * factor.decay
        groups += parts.values()
    optimizer.param_groups[:] = groups
    record_rate_shares(optimizer, lr)
