"""The residual blocks of `fanin.models.resnet`, and the shortcuts around them.

The branch F of a block is conv 3×3 → norm → activation → conv 3×3 → norm. The block's output is

- plain: activation(shortcut(x) + F(x));
- scalar: activation(shortcut(x) + alpha·F(x)), where alpha is learned and 0 at first;
- fixup: activation(shortcut(x) + scale·F(x) + bias2b), where F has no norm, and a learned scalar
  added before each convolution and activation; the scale is 1 at first, the scalars 0.

Scalars are parameters of shape (1,) of the block itself, which initializers of weights leave at
these neutral values. Fixup's rule for the weights (the last convolution of a branch is zero, the
first is scaled down with depth) is left to the initializer; this is only the structure.

Sources: He et al., Deep Residual Learning for Image Recognition, 2015 (plain); De, Smith, Batch
Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks, 2020, and
Bachlechner et al., ReZero is All You Need, 2020 (scalar); Zhang, Dauphin, Ma, Fixup Initialization,
2019 (fixup).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.models import activations, normalization
from fanin.models.normalization import Norm

Residual = Literal["plain", "scalar", "fixup"]
Shortcut = Literal["pad", "conv"]


class PadShortcut(nn.Module):
    """Every `stride`-th row and column, and `extra` channels of zeros: option A of He et al."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C + extra, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class ConvShortcut(nn.Module):
    """conv 1×1 with stride → norm: option B of He et al."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, norm: Norm | None, bias: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, stride, bias=bias)
        self.norm = normalization.make_map_norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        projected: Tensor = self.norm(self.conv(x))
        return projected


def make_shortcut(
    kind: Shortcut, inputs: int, outputs: int, stride: int, *, norm: Norm | None, bias: bool
) -> nn.Module:
    """The shortcut of a block: the identity if the block keeps the shape, else one of `kind`."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(stride, outputs - inputs)
    return ConvShortcut(inputs, outputs, stride, norm=norm, bias=bias)


class ResidualBlock(nn.Module):
    """activation(shortcut(x) + F(x)), with alpha·F(x) if `scalar` is true."""

    alpha: nn.Parameter | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        *,
        activation: str,
        norm: Norm | None,
        bias: bool,
        shortcut: Shortcut,
        scalar: bool,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.norm1 = normalization.make_map_norm(norm, outputs)
        self.activation1 = activations.get(activation).build()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = normalization.make_map_norm(norm, outputs)
        self.activation2 = activations.get(activation).build()
        self.shortcut = make_shortcut(shortcut, inputs, outputs, stride, norm=norm, bias=bias)
        self.alpha = nn.Parameter(torch.zeros(1)) if scalar else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        branch = self.activation1(self.norm1(self.conv1(x)))
        branch = self.norm2(self.conv2(branch))
        if self.alpha is not None:
            branch = self.alpha * branch
        output: Tensor = self.activation2(self.shortcut(x) + branch)
        return output


class FixupBlock(nn.Module):
    """activation(shortcut(x) + branch(x)), where the branch has scalars instead of normalization.

    branch(x) = scale·conv2(activation(conv1(x + bias1a) + bias1b) + bias2a) + bias2b. The scalars
    have the names of the source's code. The shortcut sees x without bias1a.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, activation: str, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.bias1a = nn.Parameter(torch.zeros(1))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bias1b = nn.Parameter(torch.zeros(1))
        self.activation1 = activations.get(activation).build()
        self.bias2a = nn.Parameter(torch.zeros(1))
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.bias2b = nn.Parameter(torch.zeros(1))
        self.activation2 = activations.get(activation).build()
        self.shortcut = make_shortcut(shortcut, inputs, outputs, stride, norm=None, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        branch = self.activation1(self.conv1(x + self.bias1a) + self.bias1b)
        branch = self.scale * self.conv2(branch + self.bias2a) + self.bias2b
        output: Tensor = self.activation2(self.shortcut(x) + branch)
        return output
