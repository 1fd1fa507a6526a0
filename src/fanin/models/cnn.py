"""A small convolutional network: `cnn`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.models import activations
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import canonicalize_options, check_widths, format_shape, set_option

_KERNEL = 3
_POOL = 2


@dataclass(frozen=True)
class CNNOptions:
    """Channels of each convolution, width of each hidden layer, and dropout before the output.

    `activation` is one for all layers, or one for each convolution and then each hidden layer.
    """

    channels: tuple[int, ...] = (32, 64)
    widths: tuple[int, ...] = (128,)
    activation: str | tuple[str, ...] = "relu"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        canonicalize_options("cnn", self)
        check_widths(self.channels, "channels")
        check_widths(self.widths, "widths")
        canonical = activations.canonicalize(self.activation, self.layers)
        set_option(self, "activation", canonical)

    @property
    def layers(self) -> int:
        """The number of layers with an activation."""
        return len(self.channels) + len(self.widths)


class CNN(nn.Module):
    """Convolutions with max-pooling, then hidden layers.

    [conv 3×3, no padding → activation → max-pool 2] for each channel count → flatten → [linear →
    activation] for each width → dropout → linear.

    Flattens in the order (channels, height, width), whatever the memory format (Keras: height,
    width, channels). An activation that never decreases is applied after pooling instead of before:
    the same function and gradient for a quarter of the work. Pooling drops the last row or column
    of an odd size, so that some rows and columns of the image reach no output. They are cut off
    first: the last two of 28 and of 32, which saves about a sixth of the convolutions' work.

    Args:
        options: channels, widths, activations and dropout rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images that are too small.
    """

    def __init__(self, options: CNNOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        height, width = _compute_final_size(options, input_shape)
        self.input_shape = input_shape
        self.reach = _count_used_pixels(options, height), _count_used_pixels(options, width)
        functions = activations.get_per_layer(options.activation, options.layers)
        channels = (input_shape[0], *options.channels)
        sizes = (channels[-1] * height * width, *options.widths)
        self.conv = nn.ModuleList(nn.Conv2d(n, m, _KERNEL) for n, m in pairwise(channels))
        self.hidden = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        self.activations = nn.ModuleList(function.build() for function in functions)
        self.pool_first = tuple(
            function.monotone for function in functions[: len(options.channels)]
        )
        self.dropout = Dropout(options.dropout)
        self.output = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        activation = iter(self.activations)
        if x.shape[1:] == self.input_shape:  # another shape fails in the first hidden layer
            x = x[..., : self.reach[0], : self.reach[1]]
        for convolution, pool_first in zip(self.conv, self.pool_first, strict=True):
            x = _activate_and_pool(convolution(x), next(activation), pool_first)
        x = x.flatten(1)
        for layer in self.hidden:
            x = next(activation)(layer(x))
        output: Tensor = self.output(self.dropout(x))
        return output


def _activate_and_pool(x: Tensor, activation: nn.Module, pool_first: bool) -> Tensor:
    pooled: Tensor = (
        activation(F.max_pool2d(x, _POOL)) if pool_first else F.max_pool2d(activation(x), _POOL)
    )
    return pooled


def _count_used_pixels(options: CNNOptions, final: int) -> int:
    """How many rows (or columns) of the image the `final` ones after the last pooling depend on."""
    size = final
    for _ in options.channels:
        size = size * _POOL + _KERNEL - 1
    return size


def _compute_final_size(options: CNNOptions, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width after the last pooling; `FitError` if nothing is left."""
    _, height, width = input_shape
    for _ in options.channels:
        height, width = (height - _KERNEL + 1) // _POOL, (width - _KERNEL + 1) // _POOL
    smallest = _count_used_pixels(options, 1)
    if min(input_shape[1:]) < smallest:
        raise FitError(
            f"cnn with {len(options.channels)} convolutions needs images of at least "
            f"{smallest}×{smallest}; the data has {format_shape(input_shape)}. Use "
            f"mlp{', or fewer channels' if len(options.channels) > 1 else ''}."
        )
    return height, width


REGISTRY.add(
    ModelEntry(
        name="cnn",
        summary="Convolutions of 32 and 64 channels with max-pooling, 128 ReLU, dropout, outputs: "
        "the case study's CNN.",
        options=CNNOptions,
        build=CNN,
        input="image",
        task="any",
        channels_last=True,
        paper="LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998",
    )
)
