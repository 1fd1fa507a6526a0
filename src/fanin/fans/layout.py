"""Fans of a weight, and its layout: how many inputs feed one output, how many outputs one input
feeds, which axis is which.

Two conventions, the same everywhere in fanin:

``kernel`` (the default)
    The number of weights that meet one output (fan-in) or leave one input (fan-out), stride ignored
    in both directions, as every framework does.
``effective``
    As `kernel`, with a transposed convolution's fan-in and a strided convolution's fan-out divided
    by the product of the strides: with stride s, one output of a transposed convolution meets on
    average k/s of the k taps of each dimension, and so does one input of a strided convolution on
    the way back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Literal, get_args

from torch import Tensor

from fanin.errors import FitError, SpecError, UnknownName, quote

Convention = Literal["kernel", "effective"]
Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
EvenCentre = Literal["left", "right"]
"""Which of the two middle taps of an even kernel counts as its centre."""


@dataclass(frozen=True)
class Fans:
    """fan_in and fan_out of a weight; whole numbers unless strides divide them."""

    fan_in: float
    fan_out: float

    def of(self, mode: Mode) -> float:
        """The fan that `mode` names; fan_avg is the mean of the two, fan_geo_avg the geometric
        mean.
        """
        if mode not in get_args(Mode):
            raise UnknownName.suggest("mode", mode, get_args(Mode))
        return {
            "fan_in": self.fan_in,
            "fan_out": self.fan_out,
            "fan_avg": (self.fan_in + self.fan_out) / 2,
            "fan_geo_avg": math.sqrt(self.fan_in * self.fan_out),
        }[mode]


@dataclass(frozen=True)
class WeightLayout:
    """How a weight of a given shape acts as linear maps: one matrix (outputs × inputs·kernel) per
    group.

    Methods that look at more than one number at a time (orthogonal, sparse) work on these matrices,
    so that they mean the same on every layer. A parameter that packs several maps (the q, k and v
    of attention, the gates of an LSTM) has `parts`, each with a layout of its own: nothing is ever
    drawn for the pack as if it were one map.
    """

    shape: tuple[int, ...]
    fans: Fans | None
    """None if the tensor has no fans (fewer than two dimensions). A bias has those of its
    layer's weight.
    """
    groups: int = 1
    transposed: bool = False
    """True if dimension 0 counts inputs, as in a transposed convolution."""
    inputs: int = 1
    """How many dimensions count inputs: 2 in ``nn.Bilinear``, whose weight is (out, in1, in2)."""
    part: str = ""
    """Which part of a packed parameter this is, such as q, or the gate f."""
    parts: tuple[PackedPart, ...] = ()

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's dimensions."""
        return self.shape[1 + self.inputs :]

    @property
    def matrices_shape(self) -> tuple[int, int, int]:
        """(groups, outputs per group, inputs per group times kernel taps)."""
        first, second = self.shape[0], self.shape[1]
        taps = math.prod(self.shape[2:])
        if self.transposed:
            return self.groups, second, first // self.groups * taps
        return self.groups, first // self.groups, second * taps

    def from_matrices(self, matrices: Tensor) -> Tensor:
        """The weight of this layout whose per-group matrices are `matrices`, of shape
        `matrices_shape`.
        """
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

    @property
    def tap_shape(self) -> tuple[int, int, int]:
        """(groups, outputs per group, inputs per group): the shape of the maps at one tap."""
        groups, outputs, columns = self.matrices_shape
        return groups, outputs, columns // max(math.prod(self.kernel), 1)

    def find_centre(self, even: EvenCentre = "left") -> tuple[int, ...]:
        """The middle tap of the kernel.

        An even kernel has two middle taps: left is (k - 1)//2, where ``padding="same"`` leaves a
        signal in place and which JAX uses; right is k//2, which ``torch.nn.init.dirac_`` uses.
        """
        return tuple((size - 1) // 2 if even == "left" else size // 2 for size in self.kernel)

    def to_tap(self, weight: Tensor, tap: tuple[int, ...]) -> Tensor:
        """The maps of a weight at one tap, of shape `tap_shape`."""
        spread = self.to_matrices(weight).reshape(*self.tap_shape, *self.kernel)
        index: tuple[EllipsisType | int, ...] = (..., *tap)
        return spread[index]

    def from_tap(self, matrices: Tensor, tap: tuple[int, ...]) -> Tensor:
        """The weight that is `matrices`, (groups, outputs, inputs), at one tap of the kernel, and
        zero at the others.
        """
        groups, outputs, columns = self.matrices_shape
        spread = matrices.new_zeros(
            groups, outputs, columns // math.prod(self.kernel), *self.kernel
        )
        spread[(..., *tap)] = matrices  # type: ignore[index]
        return self.from_matrices(spread.reshape(self.matrices_shape)).contiguous()


@dataclass(frozen=True)
class ViewStep:
    """One step from a parameter to a view of it: a method of tensors that copies nothing."""

    method: Literal["narrow", "select", "unflatten", "permute"]
    args: tuple[Any, ...]

    def apply(self, tensor: Tensor) -> Tensor:
        """The view after this step."""
        found: Tensor = getattr(tensor, self.method)(*self.args)
        return found


@dataclass(frozen=True)
class PackedPart:
    """One of the maps that a parameter packs, and where it lies.

    Most are rows (or columns) `start` to `start + size` along one dimension; one of many experts,
    or one of q, k and v that alternate by head, is reached in several steps.
    """

    name: str
    steps: tuple[ViewStep, ...]
    layout: WeightLayout
    counted: bool = False
    """True if it is one of several like maps, such as experts, and named by its number."""

    @classmethod
    def slice(cls, name: str, dim: int, start: int, size: int, layout: WeightLayout) -> PackedPart:
        """Rows (or columns) `start` to `start + size` along dimension `dim`."""
        return cls(name, (ViewStep("narrow", (dim, start, size)),), layout)

    def of(self, tensor: Tensor) -> Tensor:
        """The part's view of the whole parameter.

        Its numbers are in the order of `layout`; its shape may divide an axis of it into several.
        """
        for step in self.steps:
            tensor = step.apply(tensor)
        return tensor

    def read(self, tensor: Tensor) -> Tensor:
        """The part's numbers, in the shape of its layout."""
        return self.of(tensor).reshape(self.layout.shape)

    def write(self, tensor: Tensor, numbers: Tensor) -> None:
        """Copy numbers of the shape of its layout into the whole parameter."""
        view = self.of(tensor)
        view.copy_(numbers.reshape(view.shape))


def get_tensor_layout(tensor: Tensor | Sequence[int]) -> WeightLayout:
    """The layout that ``torch.nn.init`` assumes of a tensor, or of a shape: (out, in, *kernel), no
    groups, no stride.

    >>> get_tensor_layout((64, 16, 3, 3)).fans
    Fans(fan_in=144, fan_out=576)
    """
    shape = tuple(tensor.shape if isinstance(tensor, Tensor) else tensor)
    if len(shape) < 2:
        return WeightLayout(shape, None)
    taps = math.prod(shape[2:])
    return WeightLayout(shape, Fans(shape[1] * taps, shape[0] * taps))


def require_fans(layout: WeightLayout) -> Fans:
    """The fans of a layout; a `FitError` if it has none."""
    if layout.fans is None and len(layout.shape) > 2:
        raise FitError(
            f"which axes of the shape {layout.shape} count inputs and which outputs is not known. "
            "Tell it by layouts={pattern: fanin.Layout(in_axis=…, out_axis=…, batch_axis=…)}, or "
            "use an initializer without fans, such as normal(std=0.02)."
        )
    if layout.fans is None or len(layout.shape) < 2:
        raise FitError(
            f"A tensor of shape {layout.shape} has no fans: that needs at least two dimensions "
            "(outputs, inputs). "
            f"Use an initializer without fans, such as zero or normal(std=0.02)."
        )
    return layout.fans


def check_gain(gain: object, what: str = "gain") -> float:
    """`gain` as a float, or a `SpecError`: it must be a finite number of at least 0."""
    if (
        isinstance(gain, bool)
        or not isinstance(gain, (int, float))
        or not math.isfinite(gain)
        or gain < 0
    ):
        raise SpecError(f"{what} must be a finite number of at least 0, not {quote(gain)}.")
    return float(gain)
