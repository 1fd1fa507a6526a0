"""What an optimizer is to a study, and the registry of optimizers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from fanin.registry import Component, ComponentEntry, Registry


class Optimizer(Component, ABC):
    """A frozen dataclass of options that builds a torch optimizer."""

    @abstractmethod
    def build(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """The torch optimizer of all parameters of a model.

        The model is on its device and in its memory format already.
        """


REGISTRY: Registry[ComponentEntry, Optimizer] = Registry("optimizer", ComponentEntry)
