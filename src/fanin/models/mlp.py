"""Fully connected networks: `mlp` and `regression`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from torch import Tensor, nn

from fanin.models import activations
from fanin.models.base import REGISTRY, ModelEntry, check_widths


class HiddenOptions(Protocol):
    """The hidden layers of an `MLP`."""

    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def activation(self) -> str | tuple[str, ...]: ...


@dataclass(frozen=True)
class MLPOptions:
    """Width of each hidden layer; one activation for all of them or one for each."""

    widths: tuple[int, ...] = (256, 128)
    activation: str | tuple[str, ...] = ("sigmoid", "tanh")

    def __post_init__(self) -> None:
        _canonicalize(self)


@dataclass(frozen=True)
class RegressionOptions:
    """Width of each hidden layer; one activation for all of them or one for each."""

    widths: tuple[int, ...] = (64, 32)
    activation: str | tuple[str, ...] = "relu"

    def __post_init__(self) -> None:
        _canonicalize(self)


class MLP(nn.Module):
    """flatten → [linear → activation] for each width → linear.

    Args:
        options: widths and activations of the hidden layers.
        input_shape: shape of one input; any, flattened in its logical order (channels, height, width).
        outputs: number of outputs.
    """

    def __init__(self, options: HiddenOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        sizes = (math.prod(input_shape), *options.widths)
        self.hidden = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        self.activations = nn.ModuleList(a.make() for a in activations.per_layer(options.activation, len(options.widths)))
        self.output = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) → (N, outputs)."""
        x = x.flatten(1)
        for layer, activation in zip(self.hidden, self.activations, strict=True):
            x = activation(layer(x))
        output: Tensor = self.output(x)
        return output


def _canonicalize(options: MLPOptions | RegressionOptions) -> None:
    """Make equal networks equal options, so that they have one identity."""
    object.__setattr__(options, "widths", check_widths(options.widths, "widths"))
    object.__setattr__(options, "activation", activations.canonical(options.activation, len(options.widths)))


REGISTRY.add(
    ModelEntry(
        name="mlp",
        summary="Flatten, 256 sigmoid, 128 tanh, outputs: the case study's fully connected network, for images and tables.",
        options=MLPOptions,
        build=MLP,
        input="any",
        task="any",
        channels_last=False,
        paper="Rumelhart, Hinton, Williams, Learning Representations by Back-Propagating Errors, 1986",
    )
)

REGISTRY.add(
    ModelEntry(
        name="regression",
        summary="Columns of a table, 64 ReLU, 32 ReLU, one number: the case study's regression network.",
        options=RegressionOptions,
        build=MLP,
        input="table",
        task="regression",
        channels_last=False,
        paper="Rumelhart, Hinton, Williams, Learning Representations by Back-Propagating Errors, 1986",
    )
)
