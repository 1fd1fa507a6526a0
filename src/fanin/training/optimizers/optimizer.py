"""What an optimizer is to a study: an entry by name, and a frozen dataclass of options that makes
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from fanin import specs
from fanin.registry import Registry
from fanin.training.optimizers import user_optimizer


class OptimizerOptions(Protocol):
    """A frozen dataclass of options that can make a torch optimizer."""

    def make(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """The optimizer of all parameters of a model, which is on its device and in its memory
        format already.
        """


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer by name."""

    name: str
    summary: str
    options: type[OptimizerOptions]


OPTIMIZERS: Registry[OptimizerEntry] = Registry("optimizer", OptimizerEntry)


def get(spec: str) -> tuple[str, OptimizerOptions]:
    """The canonical spec and the options of an optimizer's spec string; a target is the user's own
    (`fanin.user_code`).
    """
    name, options = specs.parse(spec)
    if specs.is_reference(name):
        return user_optimizer.optimizer(name, options)
    made = specs.construct(name, OPTIMIZERS.get(name).options, options)
    return specs.render_canonical(name, made), made
