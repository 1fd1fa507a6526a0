"""Normalization layers by name; all models make theirs here.

| name  | after a convolution (N, C, H, W)               | after a linear layer (N, …, features)   |
|-------|------------------------------------------------|-----------------------------------------|
| none  | nothing                                        | nothing                                 |
| batch | each channel over (N, H, W)                    | each feature over N                     |
| layer | each sample over (C, H, W)                     | each sample (or token) over its features|
| group | each sample over (H, W) of a group of channels | each sample over a group of features    |
| ws    | nothing                                        | nothing                                 |

With ``ws``, the layer itself standardizes the weights of each output
(`fanin.models.weight_standardization`); it has a learned scale per output, 1 at first, and no shift
but the layer's bias. The others have a learned scale and shift per channel or feature, which start
at 1 and 0, and ε = 1e-5. These are torch's defaults; Keras has ε = 1e-3. The running mean and
variance of ``batch`` take a tenth of each new batch (Keras: a hundredth). In training, ``batch``
needs more than one number per channel: one sample of one pixel has no variance, and torch raises
`ValueError`.

Sources: Ioffe, Szegedy, Batch Normalization, 2015; Ba, Kiros, Hinton, Layer Normalization, 2016;
Wu, He, Group Normalization, 2018; Brock, De, Smith, Characterizing Signal Propagation to Close the
Performance Gap in Unnormalized ResNets, 2021 (ws).
"""

from __future__ import annotations

from typing import Literal, TypeVar, cast

from torch import nn

from fanin.models.weight_standardization import standardize

Norm = Literal["ws", "batch", "layer", "group"]
"""None, which specs write as `none`, is no normalization."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)

GROUPS = 8
"""The largest number of groups. Wu and He have 32 groups for 64 channels and more; networks for
small images begin with 16 channels.
"""


def make_map_norm(norm: Norm | None, channels: int) -> nn.Module:
    """The normalization layer for feature maps (N, channels, H, W); an identity for None and ws.

    Layer normalization is over all of a sample, with a scale and a shift per channel, so that no
    parameter depends on the size of the image.
    """
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "group":
            return nn.GroupNorm(count_groups(channels), channels)
        case "ws" | None:
            return nn.Identity()


def make_feature_norm(norm: Norm | None, features: int) -> nn.Module:
    """The normalization layer for rows (N, …, features); an identity for None and ws."""
    match norm:
        case "batch":
            return nn.BatchNorm1d(features)
        case "layer":
            return nn.LayerNorm(features)
        case "group":
            return nn.GroupNorm(count_groups(features), features)
        case "ws" | None:
            return nn.Identity()


def standardize_layers(norm: Norm | None, layers: ModuleT) -> ModuleT:
    """The layers, with standardized weights if `norm` is ws.

    Takes one layer, a block or a list of layers, and returns the same type.
    """
    return cast(ModuleT, standardize(layers)) if norm == "ws" else layers


def has_norm_layer(norm: Norm | None) -> bool:
    """Whether `norm` adds a normalization layer, which None and ws do not."""
    return norm not in ("ws", None)


def count_groups(channels: int) -> int:
    """The largest number of equal groups, at most `GROUPS`, with at least two channels in each.

    1 if there is none.
    """
    return next((n for n in range(GROUPS, 1, -1) if channels % n == 0 and channels >= 2 * n), 1)
