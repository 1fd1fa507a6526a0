"""User optimizers: functions that make a torch optimizer, named by a reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from fanin import specs, user_code
from fanin.registry import UserEntry
from fanin.training.optimizers.optimizer import REGISTRY
from fanin.training.optimizers.stepping import record_rate_shares


@dataclass(frozen=True)
class UserOptimizer:
    """A user's function that makes a torch optimizer, and its options."""

    component: user_code.UserComponent
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec: the reference and the options."""
        return specs.render_canonical(self.component.name, self.options)

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """What the user's function makes of the model's parameters.

        Raises `FitError` if that is not an optimizer of all of them.
        """
        parameters = list(model.parameters())
        optimizer = self.component.call(self.options, parameters, lr)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise self.component.make_return_error(optimizer)
        covered = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if covered != {id(p) for p in parameters}:
            raise self.component.make_return_error(
                optimizer, f"one over {len(covered)} of the model's {len(parameters)} parameters"
            )
        record_rate_shares(optimizer, lr)
        return optimizer


def load_entry(reference: str) -> UserEntry:
    """The entry of a user's optimizer."""
    component = user_code.load_component(reference, user_code.OPTIMIZER)
    return UserEntry(component.name, component.options, partial(UserOptimizer, component))


REGISTRY.load_user_entries_with(load_entry)
