"""LeNet-5 in its usual modern form: `lenet5`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fanin.models import activations
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import canonicalize_options, require_size

_SMALLEST = 12
"""Images of 12×12 are 2×2 after the second convolution, and 1×1 after the second pooling."""


@dataclass(frozen=True)
class LeNet5Options:
    """The activation of all four hidden layers, the pooling, and the dropout before the output."""

    activation: str = "tanh"
    pool: Literal["average", "max"] = "average"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("lenet5", self)


class LeNet5(nn.Module):
    """Two convolutions with pooling, two hidden layers, outputs.

    conv 5×5 to 6 channels, padding 2 → activation → pool 2 → conv 5×5 to 16 → activation → pool 2 →
    flatten → linear 120 → activation → linear 84 → activation → dropout → linear.

    Differs from the source, as most modern versions do: every channel of the second convolution
    sees all six channels before it, pooling has no weights, tanh is not scaled, and the output is
    linear instead of radial basis functions. The first convolution pads 28×28 pixels to the 32×32
    of the source.

    Args:
        options: activation, pooling and dropout rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images below 12×12.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998.
    """

    def __init__(self, options: LeNet5Options, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        require_size("lenet5", input_shape, _SMALLEST, "Use mlp, or plain_cnn.")
        height, width = ((side // 2 - 4) // 2 for side in input_shape[1:])
        self.conv = nn.ModuleList([nn.Conv2d(input_shape[0], 6, 5, padding=2), nn.Conv2d(6, 16, 5)])
        self.hidden = nn.ModuleList([nn.Linear(16 * height * width, 120), nn.Linear(120, 84)])
        self.activations = nn.ModuleList(
            activations.get(options.activation).build() for _ in range(4)
        )
        self.pool = F.avg_pool2d if options.pool == "average" else F.max_pool2d
        self.dropout = Dropout(options.dropout)
        self.output = nn.Linear(84, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        activation = iter(self.activations)
        for convolution in self.conv:
            x = self.pool(next(activation)(convolution(x)), 2)
        x = x.flatten(1)
        for layer in self.hidden:
            x = next(activation)(layer(x))
        output: Tensor = self.output(self.dropout(x))
        return output


REGISTRY.add(
    ModelEntry(
        name="lenet5",
        summary="Convolutions of 6 and 16 channels with pooling, 120 and 84 tanh, outputs: LeNet-5 "
        "in its modern form.",
        options=LeNet5Options,
        build=LeNet5,
        input="image",
        task="any",
        channels_last=True,
        paper="LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998",
    )
)
