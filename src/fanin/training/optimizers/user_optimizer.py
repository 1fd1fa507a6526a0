"""User optimizers: functions that make a torch optimizer, named by a reference."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from fanin import user_code
from fanin.registry import ComponentEntry
from fanin.training.optimizers.optimizer import REGISTRY, Optimizer
from fanin.training.optimizers.rates import record_rate_shares


class UserOptimizer(Optimizer):
    """Base of the classes that `fanin.user_code.derive_class` makes of users' functions."""

    component: ClassVar[user_code.UserComponent]

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """What the user's function makes of the model's parameters.

        Raises `FitError` if that is not an optimizer of all of them.
        """
        parameters = list(model.parameters())
        optimizer = self.component.call(self, parameters, lr)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise self.component.make_return_error(optimizer)
        covered = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if covered != {id(p) for p in parameters}:
            raise self.component.make_return_error(
                optimizer, f"one over {len(covered)} of the model's {len(parameters)} parameters"
            )
        record_rate_shares(optimizer, lr)
        return optimizer


def load_entry(reference: str) -> ComponentEntry:
    """The entry of a user's optimizer."""
    component = user_code.load_component(reference, user_code.OPTIMIZER)
    derived = user_code.derive_class(component, UserOptimizer)
    return ComponentEntry(component=derived, summary=f"{component.name}.")


REGISTRY.load_user_entries_with(load_entry)
