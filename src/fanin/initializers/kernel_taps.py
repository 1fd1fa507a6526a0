"""One tap of a kernel: which one is the centre, and the maps that a weight has there."""

from __future__ import annotations

import math
from types import EllipsisType
from typing import Literal

from torch import Tensor

from fanin.fans import Layout

Even = Literal["left", "right"]
"""Which of the two middle taps of an even kernel counts as its centre."""


def centre(kernel: tuple[int, ...], even: Even = "left") -> tuple[int, ...]:
    """The middle tap.

    An even kernel has none, so left means (k - 1)//2, where ``padding="same"`` leaves a signal in
    place and which is JAX' choice, and right means k//2, that of ``torch.nn.init.dirac_``.
    """
    return tuple((size - 1) // 2 if even == "left" else size // 2 for size in kernel)


def tap_shape(layout: Layout) -> tuple[int, int, int]:
    """(groups, outputs per group, inputs per group): the shape of the maps at one tap."""
    groups, outputs, columns = layout.matrices_shape
    return groups, outputs, columns // max(math.prod(layout.kernel), 1)


def at_tap(layout: Layout, weight: Tensor, tap: tuple[int, ...]) -> Tensor:
    """The maps of a weight at one tap, of shape `tap_shape`; ``Layout.from_tap`` is the way back."""
    spread = layout.to_matrices(weight).reshape(*tap_shape(layout), *layout.kernel)
    index: tuple[EllipsisType | int, ...] = (..., *tap)
    return spread[index]
