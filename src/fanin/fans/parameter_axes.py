"""Layouts of parameters that no layer describes: which axes count inputs, outputs and maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.fans.layout import Fans, PackedPart, ViewStep, WeightLayout

Axes = int | tuple[int, ...]

_KEYS = ("in_axis", "out_axis", "batch_axis")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which axes of a parameter count inputs, which outputs, and which count maps of their own.

    | parameter | shape | Layout |
    |---|---|---|
    | a matrix for ``x @ w`` | (in, out) | in_axis=0, out_axis=1 |
    | experts for ``F.linear(x, w[e])`` | (experts, out, in) | in_axis=2, out_axis=1, batch_axis=0 |
    | XLNet's heads | (in, heads, head size) | in_axis=0, out_axis=(1, 2) |

    Each map of the batch axes is drawn for itself, from its own random stream and with its own
    fans. Axes that are not named are a kernel: they multiply both fans, as in a convolution. An
    axis may be negative, counted from the last.

    >>> Layout(in_axis=2, out_axis=1, batch_axis=0).arrange((8, 128, 64)).fans
    Fans(fan_in=64, fan_out=128)

    Differs from ``jax.nn.initializers.variance_scaling``, whose arguments these are: there the
    batch axes are drawn as one array, and the defaults are in_axis=-2, out_axis=-1. Here the axes
    have no defaults, since torch's own order is the other one.
    """

    in_axis: Axes
    out_axis: Axes
    batch_axis: Axes = ()

    def __post_init__(self) -> None:
        for name in _KEYS:
            value = getattr(self, name)
            axes = (value,) if _is_whole(value) else value
            if (
                not isinstance(axes, Sequence)
                or isinstance(axes, str)
                or not all(map(_is_whole, axes))
            ):
                raise UsageError(
                    f"{name} is the number of an axis or a tuple of them, not {quote(value)}."
                )
            object.__setattr__(self, name, tuple(axes))
        for name in _KEYS[:2]:
            if not getattr(self, name):
                raise UsageError(f"A layout needs at least one axis as {name}; received none.")

    @classmethod
    def parse(cls, value: object) -> Layout:
        """A layout as it is, or made of a table such as ``{in_axis = 2, out_axis = 1}``."""
        if isinstance(value, Layout):
            return value
        if not isinstance(value, Mapping):
            raise UsageError(
                "A layout is fanin.Layout(in_axis=…, out_axis=…, batch_axis=…) or a table of these "
                f"keys, not {quote(value)}."
            )
        for key in value:
            if key not in _KEYS:
                raise UnknownName.suggest("key of a layout", str(key), _KEYS)
        for key in _KEYS[:2]:
            if key not in value:
                raise UsageError(f"A layout needs {key}; received {quote(dict(value))}.")
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """The axes as plain numbers and lists."""
        given: dict[str, tuple[int, ...]] = {key: getattr(self, key) for key in _KEYS}
        return {
            key: axes[0] if len(axes) == 1 else list(axes) for key, axes in given.items() if axes
        }

    def arrange(self, shape: Sequence[int]) -> WeightLayout:
        """The weight layout of a parameter of this shape.

        Raises `FitError` if the shape lacks an axis, or two of the arguments name the same one.
        """
        shape = tuple(shape)
        ins, outs, batch = (self._locate(name, shape) for name in _KEYS)
        named = [*ins, *outs, *batch]
        if len(set(named)) < len(named):
            raise FitError(f"{self} names an axis twice.")
        left = [axis for axis in range(len(shape)) if axis not in batch]
        inner, steps = _describe_map(shape, ins, outs, left)
        if not batch and not steps:
            return inner
        parts = tuple(
            _make_part(_name_map(index), (*_choose_map(batch, index), *steps), inner)
            for index in product(*(range(shape[axis]) for axis in batch))
        )
        return WeightLayout(shape, inner.fans, parts=parts)

    def _locate(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        axes: tuple[int, ...] = getattr(self, name)
        for axis in axes:
            if not -len(shape) <= axis < len(shape):
                raise FitError(
                    f"{name}={axis}: a parameter of shape {shape} has the axes 0 to "
                    f"{len(shape) - 1}."
                )
        return tuple(axis % len(shape) for axis in axes)

    def __str__(self) -> str:
        pairs = ", ".join(
            f"{key}={axes[0] if len(axes := getattr(self, key)) == 1 else axes}"
            for key in _KEYS
            if getattr(self, key) or key != "batch_axis"
        )
        return f"Layout({pairs})"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _describe_map(
    shape: tuple[int, ...], ins: Sequence[int], outs: Sequence[int], left: Sequence[int]
) -> tuple[WeightLayout, tuple[ViewStep, ...]]:
    """The layout of one map, and the steps that bring the axes that are left into its order."""
    kernel = [axis for axis in left if axis not in ins and axis not in outs]
    taps = [shape[axis] for axis in kernel]
    inputs = math.prod(shape[axis] for axis in ins)
    outputs = math.prod(shape[axis] for axis in outs)
    fans = Fans(inputs * math.prod(taps), outputs * math.prod(taps))
    if tuple(left) == (*ins, *outs, *kernel) and len(ins) == len(outs) == 1:
        return WeightLayout((inputs, outputs, *taps), fans, transposed=True), ()
    order = tuple(left.index(axis) for axis in (*outs, *ins, *kernel))
    layout = WeightLayout((outputs, inputs, *taps), fans)
    ordered = order == tuple(range(len(left))) and len(ins) == len(outs) == 1
    return layout, () if ordered else (ViewStep("permute", (order,)),)


def _make_part(name: str, steps: tuple[ViewStep, ...], layout: WeightLayout) -> PackedPart:
    return PackedPart(name, steps, replace(layout, part=name), counted=True)


def _name_map(index: tuple[int, ...]) -> str:
    return ",".join(map(str, index))


def _choose_map(batch: Sequence[int], index: Sequence[int]) -> tuple[ViewStep, ...]:
    """The steps to one map along the batch axes, the last axis first so that numbers hold."""
    chosen = sorted(zip(batch, index, strict=True), reverse=True)
    return tuple(ViewStep("select", (axis, position)) for axis, position in chosen)
