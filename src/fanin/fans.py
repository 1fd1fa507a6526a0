"""Fans of a weight: how many inputs feed one output, and how many outputs one input feeds.

Two conventions, the same everywhere in fanin:

``kernel`` (the default)
    The number of weights that meet one output (fan-in) or leave one input (fan-out), stride ignored in both directions, as
    every framework does.
``effective``
    As `kernel`, with a transposed convolution's fan-in and a strided convolution's fan-out divided by the product of the
    strides: with stride s, one output of a transposed convolution meets on average k/s of the k taps of each dimension, and
    so does one input of a strided convolution on the way back.

============================  ======================  ====================  ===================  =====================
layer                         weight                  fan-in                fan-out              effective changes
============================  ======================  ====================  ===================  =====================
Linear                        (out, in)               in                    out
Conv                          (out, in/groups, *k)    in/groups · ∏k        out/groups · ∏k      fan-out / ∏stride
ConvTranspose                 (in, out/groups, *k)    in/groups · ∏k        out/groups · ∏k      fan-in / ∏stride
Embedding, EmbeddingBag       (rows, dim)             1                     dim
any other tensor, as          (out, in, *k)           in · ∏k               out · ∏k             (tensors have no
``torch.nn.init`` sees it                                                                        stride)
============================  ======================  ====================  ===================  =====================

Differs from torch: ``torch.nn.init`` knows the tensor only, so it reports fan-out 576 instead of 36 for
``Conv2d(64, 64, 3, groups=16)`` and fan-in 144 instead of 576 for ``ConvTranspose2d(64, 16, 3)``.
Differs for embeddings: a lookup is one row, so each output is a single weight and the fan-in that keeps variance is 1. torch
and Flax count the columns (dim), Keras the rows, as if the table were a dense matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from fanin.errors import FitError, SpecError, shown, unknown

Convention = Literal["kernel", "effective"]
Mode = Literal["fan_in", "fan_out", "fan_avg"]


@dataclass(frozen=True)
class Fans:
    """fan_in and fan_out of a weight; whole numbers unless strides divide them."""

    fan_in: float
    fan_out: float

    def of(self, mode: Mode) -> float:
        """The fan that `mode` names; fan_avg is the mean of the two."""
        if mode not in get_args(Mode):
            raise unknown("mode", mode, get_args(Mode))
        return {"fan_in": self.fan_in, "fan_out": self.fan_out, "fan_avg": (self.fan_in + self.fan_out) / 2}[mode]


@dataclass(frozen=True)
class Layout:
    """How a weight of some shape acts as linear maps: one matrix (outputs × inputs·kernel) per group.

    Methods that look at more than one number at a time (orthogonal, sparse) work on these matrices, so that they mean the
    same on every layer.
    """

    shape: tuple[int, ...]
    fans: Fans | None
    """None where the tensor has no fans (fewer than two dimensions)."""
    groups: int = 1
    transposed: bool = False
    """True where dimension 0 counts inputs, as in a transposed convolution."""

    @property
    def matrices_shape(self) -> tuple[int, int, int]:
        """(groups, outputs per group, inputs per group times kernel taps)."""
        first, second = self.shape[0], self.shape[1]
        taps = math.prod(self.shape[2:])
        if self.transposed:
            return self.groups, second, first // self.groups * taps
        return self.groups, first // self.groups, second * taps

    def from_matrices(self, matrices: Tensor) -> Tensor:
        """The weight of this layout whose per-group matrices are `matrices`, of shape `matrices_shape`."""
        if not self.transposed:
            return matrices.reshape(self.shape)
        kernel = self.shape[2:]
        split = matrices.reshape(self.groups, self.shape[1], self.shape[0] // self.groups, *kernel)
        return split.transpose(1, 2).reshape(self.shape)

    def to_matrices(self, weight: Tensor) -> Tensor:
        """The per-group matrices of a weight of this layout."""
        if not self.transposed:
            return weight.reshape(self.matrices_shape)
        kernel = self.shape[2:]
        split = weight.reshape(self.groups, self.shape[0] // self.groups, self.shape[1], *kernel)
        return split.transpose(1, 2).reshape(self.matrices_shape)


def tensor_layout(tensor: Tensor) -> Layout:
    """The layout that ``torch.nn.init`` assumes: (out, in, *kernel), no groups, no stride."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        return Layout(shape, None)
    taps = math.prod(shape[2:])
    return Layout(shape, Fans(shape[1] * taps, shape[0] * taps))


def module_layout(module: nn.Module, convention: Convention = "kernel") -> Layout | None:
    """The layout of ``module.weight``, or None where the module is of a kind that fanin does not know."""
    if convention not in get_args(Convention):
        raise unknown("fan convention", convention, get_args(Convention))
    if isinstance(module, nn.Linear):
        return Layout(_shape(module.weight), Fans(module.in_features, module.out_features))
    if isinstance(module, _ConvNd):
        return _convolution(module, convention)
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return Layout(_shape(module.weight), Fans(1, module.embedding_dim), transposed=True)
    return None


def fans(target: Tensor | nn.Module, convention: Convention = "kernel") -> Fans:
    """Fan-in and fan-out of a module's weight, or of a tensor as ``torch.nn.init`` sees it.

    Raises `FitError` for a tensor of fewer than two dimensions and for a module that fanin does not know.
    """
    layout = tensor_layout(target) if isinstance(target, Tensor) else module_layout(target, convention)
    if layout is None:
        raise FitError(
            f"{type(target).__name__} is not a layer whose fans are known. Expected a linear, convolution or embedding."
        )
    return require_fans(layout)


def require_fans(layout: Layout) -> Fans:
    """The fans of a layout; a `FitError` where it has none."""
    if layout.fans is None:
        raise FitError(
            f"A tensor of shape {layout.shape} has no fans: that needs at least two dimensions (outputs, inputs). "
            f"Use an initializer without fans, such as zero or normal(std=0.02)."
        )
    return layout.fans


def check_gain(gain: object, what: str = "gain") -> float:
    """`gain` as a float, or a `SpecError`: it must be a finite number of at least 0."""
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not math.isfinite(gain) or gain < 0:
        raise SpecError(f"{what} must be a finite number of at least 0, not {shown(gain)}.")
    return float(gain)


def _shape(weight: Tensor) -> tuple[int, ...]:
    if is_lazy(weight):
        raise FitError("The layer has no shape yet (its weight is lazy). Run one batch through the model first.")
    return tuple(weight.shape)


def _convolution(module: _ConvNd, convention: Convention) -> Layout:
    taps = math.prod(module.kernel_size)
    fan_in = module.in_channels // module.groups * taps
    fan_out = module.out_channels // module.groups * taps
    stride = math.prod(module.stride) if convention == "effective" else 1
    transposed = isinstance(module, _ConvTransposeNd)
    found = Fans(fan_in / stride, fan_out) if transposed else Fans(fan_in, fan_out / stride)
    return Layout(_shape(module.weight), found, module.groups, transposed)
