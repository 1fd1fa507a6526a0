"""Fully connected networks: `mlp` and `regression`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from fanin.errors import SpecError
from fanin.models import activations, normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import (
    MAX_DEPTH,
    canonicalize_options,
    check_count,
    check_widths,
    set_option,
)
from fanin.models.normalization import Norm


@dataclass(frozen=True)
class HiddenOptions:
    """Widths of the hidden layers, the whole list repeated `depth` times; one activation for all
    layers, or one for each.

    So ``mlp(widths=[64], depth=50, activation=relu)`` has 50 hidden layers of 64. `norm` is applied
    before each activation, dropout after it. `bias` is that of the hidden layers; the output always
    has one.
    """

    widths: tuple[int, ...]
    activation: str | tuple[str, ...]
    depth: int = 1
    norm: Norm | None = None
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("mlp", self)
        widths = check_widths(self.widths, "widths")
        check_count(self.depth, "depth", MAX_DEPTH)
        if len(widths) * self.depth > MAX_DEPTH:
            raise SpecError(
                f"At most {MAX_DEPTH:,} hidden layers are built; received {len(widths)} widths, "
                f"repeated {self.depth:,} times. Use a smaller depth."
            )
        canonical = activations.canonicalize(self.activation, len(widths) * self.depth)
        set_option(self, "activation", canonical)
        widths, depth = _find_period(widths * self.depth)
        set_option(self, "widths", widths)
        set_option(self, "depth", depth)

    @property
    def layers(self) -> tuple[int, ...]:
        """The width of every hidden layer."""
        return self.widths * self.depth


@dataclass(frozen=True)
class MLPOptions(HiddenOptions):
    """`HiddenOptions` with the defaults 256 sigmoid and 128 tanh."""

    widths: tuple[int, ...] = (256, 128)
    activation: str | tuple[str, ...] = ("sigmoid", "tanh")


@dataclass(frozen=True)
class RegressionOptions(HiddenOptions):
    """`HiddenOptions` with the defaults 64 and 32 ReLU."""

    widths: tuple[int, ...] = (64, 32)
    activation: str | tuple[str, ...] = "relu"


class MLP(nn.Module):
    """flatten → [linear → norm → activation → dropout] for each width → linear.

    Args:
        options: widths and activations of the hidden layers, their normalization, biases and
            dropout rate.
        input_shape: any shape of one input, flattened in its logical order (channels, height,
            width).
        outputs: number of outputs.
    """

    def __init__(self, options: HiddenOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        layers = options.layers
        sizes = (math.prod(input_shape), *layers)
        hidden = nn.ModuleList(nn.Linear(n, m, bias=options.bias) for n, m in pairwise(sizes))
        self.hidden = normalization.standardize_layers(options.norm, hidden)
        # Both are empty if they would do nothing: the fewer modules, the faster a small network.
        normalized = normalization.has_norm_layer(options.norm)
        self.norm = nn.ModuleList(
            normalization.make_feature_norm(options.norm, m) for m in layers if normalized
        )
        self.dropout = nn.ModuleList(Dropout(options.dropout) for _ in layers if options.dropout)
        self.activations = nn.ModuleList(
            a.build() for a in activations.get_per_layer(options.activation, len(layers))
        )
        self.output = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) → (N, outputs)."""
        x = x.flatten(1)
        norms, dropouts = iter(self.norm), iter(self.dropout)
        for layer, activation in zip(self.hidden, self.activations, strict=True):
            x = layer(x)
            if norm := next(norms, None):
                x = norm(x)
            x = activation(x)
            if dropout := next(dropouts, None):
                x = dropout(x)
        output: Tensor = self.output(x)
        return output


def _find_period(layers: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """The shortest list of widths that, repeated, gives these layers, and how often it repeats."""
    periods = (n for n in range(1, len(layers) + 1) if len(layers) % n == 0)
    period = next(n for n in periods if layers[:n] * (len(layers) // n) == layers)
    return layers[:period], len(layers) // period


REGISTRY.add(
    ModelEntry(
        name="mlp",
        summary="Flatten, 256 sigmoid, 128 tanh, outputs: the case study's fully connected "
        "network, for images and tables.",
        options=MLPOptions,
        build=MLP,
        input="any",
        task="any",
        channels_last=False,
        paper="Rumelhart, Hinton, Williams, Learning Representations by Back-Propagating Errors, "
        "1986",
    )
)

REGISTRY.add(
    ModelEntry(
        name="regression",
        summary="Columns of a table, 64 ReLU, 32 ReLU, one number: the case study's regression "
        "network.",
        options=RegressionOptions,
        build=MLP,
        input="table",
        task="regression",
        channels_last=False,
        paper="Rumelhart, Hinton, Williams, Learning Representations by Back-Propagating Errors, "
        "1986",
    )
)
