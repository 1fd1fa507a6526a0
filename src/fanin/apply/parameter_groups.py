"""Groups of parameters with learning rates of their own, as optimizers of torch take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from fanin.errors import UsageError, quote
from fanin.initializers.model_level import Multiplier

_SAME = Multiplier(1.0, "")


def group_parameters(
    multipliers: Mapping[str, Multiplier],
    lr: float,
    weight_decay: float | None,
    model: nn.Module,
) -> list[dict[str, Any]]:
    """One group for each pair of factors, in the order of their first parameters."""
    for what, value in (("lr", lr), ("weight_decay", weight_decay)):
        if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise UsageError(f"{what} must be a number from 0 on, not {quote(value)}.")
    named = dict(model.named_parameters())
    unknown = [name for name in multipliers if name not in named]
    if unknown:
        raise UsageError(
            f"The model has no parameter {quote(unknown[0])}, whose learning rate the record "
            "scales. Give the model that was initialized."
        )
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named.items():
        if not parameter.requires_grad:
            continue
        one = multipliers.get(name, _SAME)
        fresh: dict[str, Any] = {"params": [], "param_names": [], "lr": lr * one.factor}
        if weight_decay is not None:
            fresh["weight_decay"] = weight_decay * one.decay
        group = groups.setdefault((one.factor, one.decay), fresh)
        group["params"].append(parameter)
        group["param_names"].append(name)
    return list(groups.values())
