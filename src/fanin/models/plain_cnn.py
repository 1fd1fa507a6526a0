"""A plain chain of convolutions of any depth: `plain_cnn`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from fanin.errors import SpecError, quote
from fanin.models import activations, normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import (
    MAX_DEPTH,
    MAX_WIDTH,
    canonicalize_options,
    check_count,
    require_size,
)
from fanin.models.normalization import Norm

MAX_KERNEL = 31

_SMALL = 8
"""Sides up to this one are not halved: as in the source, CIFAR's 32 become 8 and MNIST's 28 become
7.
"""


@dataclass(frozen=True)
class PlainCNNOptions:
    """Number of convolutions, their channels and kernel; padding, activation and normalization;
    dropout before the output.

    `bias` is that of the convolutions; the output always has one.
    """

    depth: int = 8
    channels: int = 32
    kernel: int = 3
    padding: Literal["zeros", "circular"] = "zeros"
    activation: str = "relu"
    norm: Norm | None = None
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("plain_cnn", self)
        check_count(self.depth, "depth", MAX_DEPTH)
        check_count(self.channels, "channels", MAX_WIDTH)
        if not 1 <= self.kernel <= MAX_KERNEL or self.kernel % 2 == 0:
            raise SpecError(
                f"kernel is an odd number from 1 to {MAX_KERNEL}, such as 3; received "
                f"{quote(self.kernel)}."
            )


class PlainCNN(nn.Module):
    """A chain without skips.

    [conv k×k → norm → activation] × depth → mean over height and width → dropout → linear.

    Padding is (k − 1)/2, with zeros or circular. The first convolution has stride 1. The others
    have stride 2 while the smaller side of their input is above 8 and at least 2k, and stride 1
    from then on: CIFAR's images become 16×16 and 8×8 in the second and third convolution, and keep
    that size.

    Args:
        options: depth, channels, kernel, padding, activation, normalization, biases and dropout
            rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images that are smaller than the kernel.

    Source: Xiao et al., Dynamical Isometry and a Mean Field Theory of CNNs, 2018 (tanh, circular
    padding, up to 10,000 layers).
    """

    def __init__(
        self, options: PlainCNNOptions, input_shape: tuple[int, ...], outputs: int
    ) -> None:
        super().__init__()
        require_size("plain_cnn", input_shape, options.kernel, "Use a smaller kernel.")
        layers = range(options.depth)
        convolutions = nn.ModuleList(
            nn.Conv2d(
                options.channels if layer else input_shape[0],
                options.channels,
                options.kernel,
                stride,
                padding=options.kernel // 2,
                padding_mode=options.padding,
                bias=options.bias,
            )
            for layer, stride in enumerate(_choose_strides(options, min(input_shape[1:])))
        )
        self.conv = normalization.standardize_layers(options.norm, convolutions)
        self.norm = nn.ModuleList(
            normalization.make_map_norm(options.norm, options.channels) for _ in layers
        )
        self.activations = nn.ModuleList(
            activations.get(options.activation).build() for _ in layers
        )
        self.dropout = Dropout(options.dropout)
        self.output = nn.Linear(options.channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        for convolution, norm, activation in zip(
            self.conv, self.norm, self.activations, strict=True
        ):
            x = activation(norm(convolution(x)))
        output: Tensor = self.output(self.dropout(x.mean((2, 3))))
        return output


def _choose_strides(options: PlainCNNOptions, side: int) -> list[int]:
    """The stride of each convolution, for images whose smaller side is `side`."""
    strides = [1]
    while len(strides) < options.depth:
        halves = side > _SMALL and side >= 2 * options.kernel
        strides.append(2 if halves else 1)
        side = (side + 1) // 2 if halves else side
    return strides


REGISTRY.add(
    ModelEntry(
        name="plain_cnn",
        summary="A plain chain of convolutions of any depth, without skips: 8 of 32 channels, "
        "global mean, outputs.",
        options=PlainCNNOptions,
        build=PlainCNN,
        input="image",
        task="any",
        channels_last=True,
        paper="Xiao et al., Dynamical Isometry and a Mean Field Theory of CNNs, 2018",
    )
)
