"""How many taps of a convolution meet one output, and one input, where padding and stride count.

A tap that falls on a padded zero adds nothing: of a 3×3 kernel with padding 1 on 8×8 numbers,
(22/8)² = 7.6 taps meet an output on average, not 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class TapCounts:
    """Averages over all places."""

    per_output: float
    per_input: float


def count_taps(module: _ConvNd, before: Sequence[int], after: Sequence[int]) -> TapCounts:
    """The taps of a convolution from an input of spatial shape `before` to an output of `after`.

    If the shapes are not known, edges are left out, and strides divide.
    """
    transposed = isinstance(module, _ConvTransposeNd)
    taps, strides = math.prod(module.kernel_size), math.prod(module.stride)
    if not before or not after or 0 in (*before, *after):
        return TapCounts(taps / strides, taps) if transposed else TapCounts(taps, taps / strides)
    if module.padding_mode != "zeros":
        return TapCounts(taps, taps * math.prod(after) / math.prod(before))
    pairs = 1
    for axis, kernel in enumerate(module.kernel_size):
        ends = (after[axis], before[axis]) if transposed else (before[axis], after[axis])
        pairs *= _count_pairs(
            *ends,
            kernel,
            module.stride[axis],
            _get_padding(module, axis),
            module.dilation[axis],
        )
    return TapCounts(pairs / math.prod(after), pairs / math.prod(before))


def _get_padding(module: _ConvNd, axis: int) -> int:
    padding = module.padding
    if padding == "same":
        return module.dilation[axis] * (module.kernel_size[axis] - 1) // 2
    return 0 if isinstance(padding, str) else int(padding[axis])


@lru_cache(maxsize=1024)
def _count_pairs(
    long: int, short: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Pairs of a place on the strided side and a tap that meet a place on the other side."""
    found = 0
    for tap in range(kernel):
        offset = tap * dilation - padding
        first, last = max(-(offset // stride), 0), min((long - 1 - offset) // stride, short - 1)
        found += max(last - first + 1, 0)
    return found
