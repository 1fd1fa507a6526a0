"""Normalization layers by name, in one place: no other file of the models makes one.

===========  ==============================================  ============================================================
name         after a convolution (N, C, H, W)                after a linear layer (N, …, features)
===========  ==============================================  ============================================================
none         nothing                                         nothing
batch        each channel over (N, H, W)                     each feature over N
layer        each sample over (C, H, W)                      each sample (or token) over its features
group        each sample over (H, W) of a group of channels  each sample over a group of features
ws           nothing: the layer standardises the weights     nothing: likewise
             of each channel
===========  ==============================================  ============================================================

The last is `fanin.models.weight_standardization`, which has a learned scale per output, 1 at first,
and no shift but the layer's bias. The others have a learned scale and shift per channel or feature,
which start at 1 and 0, and ε = 1e-5. These are torch's defaults; Keras has ε = 1e-3. Batch's
running mean and variance take a tenth of each new batch (Keras: a hundredth), and in training it
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
"""None stands for no normalization: a spec's `none`."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)

GROUPS = 8
"""At most. Wu and He have 32 groups, for 64 channels and more; networks for small images begin with
16.
"""


def make_map_norm(norm: Norm | None, channels: int) -> nn.Module:
    """The normalization of feature maps (N, channels, H, W); an identity where `norm` is none of
    activities.

    Layer normalization is over all of a sample, with a scale and a shift per channel: so no
    parameter depends on the size.
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
    """The normalization of rows (N, features); an identity where `norm` is none of activities."""
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
    """The layers, with standardised weights where `norm` says so; blocks and lists of layers keep
    their type.
    """
    return cast(ModuleT, standardize(layers)) if norm == "ws" else layers


def has_norm_layer(norm: Norm | None) -> bool:
    """Whether `norm` is one that stands behind a layer."""
    return norm not in ("ws", None)


def count_groups(channels: int) -> int:
    """The largest number of equal groups up to `GROUPS` that leaves at least two channels in each;
    1 where there is none.
    """
    return next((n for n in range(GROUPS, 1, -1) if channels % n == 0 and channels >= 2 * n), 1)
