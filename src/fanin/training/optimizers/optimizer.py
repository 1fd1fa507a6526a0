"""What an optimizer is to a study, and the registry of optimizers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from fanin.registry import ComponentEntry, Registry


class Optimizer(Protocol):
    """What the registry makes: options that build a torch optimizer."""

    @property
    def spec(self) -> str:
        """The canonical spec, such as ``sgd(momentum=0.9)``."""

    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """The torch optimizer of all parameters of a model.

        The model is on its device and in its memory format already.
        """


REGISTRY: Registry[ComponentEntry, Optimizer] = Registry("optimizer", ComponentEntry)
