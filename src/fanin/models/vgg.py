"""VGG for small images: `vgg11` and `vgg16`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from fanin.models import activations, normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import MAX_WIDTH, canonicalize_options, check_count, require_size
from fanin.models.normalization import Norm

_FACTORS = (1, 2, 4, 8, 8)
"""Channels of the five blocks, each followed by pooling, in units of the first block's."""

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
"""Number of convolutions in each block, by depth: configurations A and D of the source."""

_SMALLEST = 17
"""Images of 17×17 are 2×2 in the last block; on one pixel, a 3×3 convolution would use one tap."""


@dataclass(frozen=True)
class VGGOptions:
    """Channels of the first block; activation and normalization; dropout before the output.

    `bias` is that of the convolutions; the output always has one.
    """

    depth: int = field(default=11, init=False)
    width: int = 64
    activation: str = "relu"
    norm: Norm | None = None
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options(self.name, self)
        check_count(self.width, "width", MAX_WIDTH)

    @property
    def name(self) -> str:
        """The name of the entry that has these options."""
        return f"vgg{self.depth}"

    @property
    def channels(self) -> tuple[tuple[int, ...], ...]:
        """The channels of each convolution, block by block."""
        numbers = _CONVOLUTIONS[self.depth]
        return tuple(
            (self.width * factor,) * number
            for factor, number in zip(_FACTORS, numbers, strict=True)
        )


@dataclass(frozen=True)
class VGG11Options(VGGOptions):
    """As `VGGOptions`, of depth 11: configuration A."""


@dataclass(frozen=True)
class VGG16Options(VGGOptions):
    """As `VGGOptions`, of depth 16: configuration D."""

    depth: int = field(default=16, init=False)


class VGG(nn.Module):
    """Five blocks of convolutions with max-pooling, then one linear layer.

    5 × ([conv 3×3 → norm → activation] × n → max-pool 2) → mean over height and width → dropout →
    linear.

    Blocks have w, 2w, 4w, 8w and 8w channels (w = 64 in the source); n is 1, 1, 2, 2, 2 (vgg11) or
    2, 2, 3, 3, 3 (vgg16). Pooling rounds odd sides up: MNIST's 28 become 14, 7, 4, 2 and 1, as
    CIFAR's 32 become 16, 8, 4, 2 and 1.

    Differs from the source: one linear layer instead of three, as is usual for small images, and
    optional normalization. The depth in the name counts the three linear layers of the source.

    Args:
        options: width, activation, normalization, biases and dropout rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images below 17×17.

    Source: Simonyan, Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition,
    2015.
    """

    def __init__(self, options: VGGOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        require_size(options.name, input_shape, _SMALLEST, "Use plain_cnn, or resnet20.")
        sizes = list(_list_convolutions(options, input_shape[0]))
        self.pooled = tuple(last for *_, last in sizes)
        convolutions = nn.ModuleList(
            nn.Conv2d(n, m, 3, padding=1, bias=options.bias) for n, m, _ in sizes
        )
        self.conv = normalization.standardize_layers(options.norm, convolutions)
        self.norm = nn.ModuleList(normalization.make_map_norm(options.norm, m) for _, m, _ in sizes)
        self.activations = nn.ModuleList(activations.get(options.activation).build() for _ in sizes)
        self.dropout = Dropout(options.dropout)
        self.output = nn.Linear(options.channels[-1][-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        for convolution, norm, activation, pooled in zip(
            self.conv, self.norm, self.activations, self.pooled, strict=True
        ):
            x = activation(norm(convolution(x)))
            if pooled:
                x = F.max_pool2d(x, 2, ceil_mode=True)
        output: Tensor = self.output(self.dropout(x.mean((2, 3))))
        return output


def _list_convolutions(options: VGGOptions, inputs: int) -> Iterator[tuple[int, int, bool]]:
    """Input and output channels of each convolution, and whether it is the last of its block."""
    for block in options.channels:
        for position, outputs in enumerate(block, start=1):
            yield inputs, outputs, position == len(block)
            inputs = outputs


def _make_entry(name: str, options: type[VGGOptions], summary: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        summary=summary,
        options=options,
        build=VGG,
        input="image",
        task="any",
        channels_last=True,
        paper="Simonyan, Zisserman, Very Deep Convolutional Networks for Large-Scale Image "
        "Recognition, 2015",
    )


for _registered in (
    _make_entry(
        "vgg11",
        VGG11Options,
        "VGG's 8 convolutions, global mean, outputs: for small images, 9.2 M parameters.",
    ),
    _make_entry(
        "vgg16",
        VGG16Options,
        "VGG's 13 convolutions, global mean, outputs: for small images, 14.7 M parameters.",
    ),
):
    REGISTRY.add(_registered)
