"""The user's own optimizer: a target in the place of a name (`fanin.user_code`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fanin import specs, user_code
from fanin.training.optimizers.rates import keep_shares


@dataclass(frozen=True)
class OwnOptimizer:
    """A target and its options."""

    part: user_code.UserComponent
    options: Any

    def make(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """What the user's function makes of the model's parameters; raises `FitError` where that is
        no optimizer of them.
        """
        parameters = list(model.parameters())
        made = self.part.call(self.options, parameters, lr)
        if not isinstance(made, torch.optim.Optimizer):
            raise self.part.refused(made)
        held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
        if held != {id(parameter) for parameter in parameters}:
            raise self.part.refused(
                made, f"one over {len(held)} of the model's {len(parameters)} parameters"
            )
        keep_shares(made, lr)
        return made


def optimizer(target: str, options: Mapping[str, Any]) -> tuple[str, OwnOptimizer]:
    """The canonical spec and the optimizer that a target names."""
    part = user_code.load_component(target, user_code.OPTIMIZER)
    chosen: Any = specs.construct(part.name, part.options, options)
    return specs.render_canonical(part.name, chosen), OwnOptimizer(part, chosen)
