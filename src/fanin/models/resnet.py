"""Residual networks for small images: `resnet20`, `resnet56`, `resnet110`, and other `resnet`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fanin import specs
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
from fanin.models.residual_blocks import FixupBlock, Residual, ResidualBlock, Shortcut

_STAGES = 3
_SMALLEST = 5
"""Images of 5×5 are 2×2 in the last stage; on one pixel, a 3×3 convolution would use one tap."""

NAMED = (20, 56, 110)
"""Depths that have an entry of their own."""


@dataclass(frozen=True)
class ResNetOptions:
    """Depth 6n + 2 and channels of the first stage; activation, normalization, kind of residual and
    shortcut; dropout before the output.

    `bias` is that of the convolutions; the output always has one. Fixup has neither normalization
    nor biases of convolutions.
    """

    depth: int = 8
    width: int = 16
    activation: str = "relu"
    norm: Norm | None = "batch"
    residual: Residual = "plain"
    shortcut: Shortcut = "pad"
    bias: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("resnet", self)
        check_count(self.width, "width", MAX_WIDTH)
        self._check_depth()
        if self.residual == "fixup" and (self.norm is not None or self.bias):
            raise SpecError(
                "residual=fixup replaces normalization and the biases of convolutions; received "
                f"norm={specs.render_value(self.norm)}, bias={specs.render_value(self.bias)}. "
                f"Write {self.name}(norm=none, residual=fixup)."
            )

    @property
    def name(self) -> str:
        """The name of the entry with these options."""
        return f"resnet{self.depth}" if self.depth in NAMED else "resnet"

    @property
    def blocks(self) -> int:
        """The number of blocks in each of the three stages."""
        return (self.depth - 2) // (2 * _STAGES)

    def _check_depth(self) -> None:
        check_count(self.depth, "depth", MAX_DEPTH)
        if self.depth < 8 or self.depth % (2 * _STAGES) != 2:
            raise SpecError(
                "The depth of a resnet is 6n + 2, for n blocks in each of three stages: 8, 14, "
                f"20, …; received {quote(self.depth)}."
            )
        if type(self) is ResNetOptions and self.depth in NAMED:  # one network, one identity
            raise SpecError(f"resnet(depth={self.depth}) has its own name. Write {self.name}.")


@dataclass(frozen=True)
class ResNet20Options(ResNetOptions):
    """As `ResNetOptions`, of depth 20."""

    depth: int = field(default=20, init=False)


@dataclass(frozen=True)
class ResNet56Options(ResNetOptions):
    """As `ResNetOptions`, of depth 56."""

    depth: int = field(default=56, init=False)


@dataclass(frozen=True)
class ResNet110Options(ResNetOptions):
    """As `ResNetOptions`, of depth 110."""

    depth: int = field(default=110, init=False)


class ResNet(nn.Module):
    """A convolution, three stages of n residual blocks, one linear layer.

    conv 3×3 → norm → activation → 3 stages → mean over height and width → dropout → linear.

    Stages have w, 2w and 4w channels (w = 16 in the source); the first convolution of the second
    and third stage has stride 2. If a block changes the shape, its shortcut takes every second
    pixel and adds channels of zeros (pad, option A of the source) or is a 1×1 convolution (conv,
    option B). `fanin.models.residual_blocks` has the blocks. With fixup, scalars `bias1` and
    `bias2` are added before the first activation and before the output, both 0 at first.

    Args:
        options: depth, width, activation, normalization, kind of residual and shortcut, biases and
            dropout rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images below 5×5.

    Source: He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2.
    """

    bias1: nn.Parameter | None
    bias2: nn.Parameter | None

    def __init__(self, options: ResNetOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        require_size(options.name, input_shape, _SMALLEST, "Use mlp, or plain_cnn.")
        fixup = options.residual == "fixup"
        stem = nn.Conv2d(input_shape[0], options.width, 3, padding=1, bias=options.bias)
        self.stem = normalization.standardize_layers(options.norm, stem)
        self.stem_norm = normalization.make_map_norm(options.norm, options.width)
        self.bias1 = nn.Parameter(torch.zeros(1)) if fixup else None
        self.stem_activation = activations.get(options.activation).build()
        self.blocks = normalization.standardize_layers(
            options.norm, nn.ModuleList(_make_blocks(options))
        )
        self.dropout = Dropout(options.dropout)
        self.bias2 = nn.Parameter(torch.zeros(1)) if fixup else None
        self.output = nn.Linear(options.width << (_STAGES - 1), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        x = self.stem_activation(_shift(self.stem_norm(self.stem(x)), self.bias1))
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.output(_shift(self.dropout(x.mean((2, 3))), self.bias2))
        return output


def _shift(x: Tensor, shift: Tensor | None) -> Tensor:
    return x if shift is None else x + shift


def _make_blocks(options: ResNetOptions) -> Iterator[nn.Module]:
    inputs = options.width
    for stage in range(_STAGES):
        outputs = options.width << stage
        for position in range(options.blocks):
            yield _make_block(inputs, outputs, 2 if stage and not position else 1, options)
            inputs = outputs


def _make_block(inputs: int, outputs: int, stride: int, options: ResNetOptions) -> nn.Module:
    if options.residual == "fixup":
        return FixupBlock(
            inputs, outputs, stride, activation=options.activation, shortcut=options.shortcut
        )
    return ResidualBlock(
        inputs,
        outputs,
        stride,
        activation=options.activation,
        norm=options.norm,
        bias=options.bias,
        shortcut=options.shortcut,
        scalar=options.residual == "scalar",
    )


def _make_entry(name: str, options: type[ResNetOptions], summary: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        summary=summary,
        options=options,
        build=ResNet,
        input="image",
        task="any",
        channels_last=True,
        paper="He et al., Deep Residual Learning for Image Recognition, 2015",
    )


for _registered in (
    _make_entry(
        "resnet",
        ResNetOptions,
        "A residual network of depth 6n + 2 for small images; 8 layers, 0.08 M parameters.",
    ),
    _make_entry(
        "resnet20",
        ResNet20Options,
        "A residual network of 20 layers for small images, 0.27 M parameters.",
    ),
    _make_entry(
        "resnet56",
        ResNet56Options,
        "A residual network of 56 layers for small images, 0.85 M parameters.",
    ),
    _make_entry(
        "resnet110",
        ResNet110Options,
        "A residual network of 110 layers for small images, 1.7 M parameters.",
    ),
):
    REGISTRY.add(_registered)
