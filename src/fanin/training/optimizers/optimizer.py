"""What an optimizer is to a study, the registry of optimizers, and checks of their options."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from fanin.errors import SpecError, quote
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


def require_share(what: str, value: float) -> None:
    """Raise `SpecError` unless 0 ≤ value < 1: the share of the past in a running mean or sum."""
    if not 0 <= value < 1:
        raise SpecError(f"{what} must be at least 0 and below 1, not {quote(value)}.")


def require_not_negative(what: str, value: float) -> None:
    """Raise `SpecError` unless value ≥ 0."""
    if not value >= 0:
        raise SpecError(f"{what} must be at least 0, not {quote(value)}.")
