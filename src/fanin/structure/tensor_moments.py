"""Moments of the numbers of a tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Shapes = Mapping[int, tuple[int, ...]]
"""The shape of each node's tensor."""

_SMALL = 100_000
"""Numbers that are measured in float64, where the squares of tiny ones do not underflow."""


def measure_tensor(tensor: Tensor) -> tuple[float, float]:
    """E x² and E x in float32 at least; nan if there are no numbers."""
    with torch.no_grad():
        if tensor.is_meta or tensor.numel() == 0 or tensor.is_complex():
            return math.nan, math.nan
        flat = tensor.detach()
        if flat.numel() <= _SMALL:
            flat = flat.double()
        elif flat.dtype not in (torch.float32, torch.float64):
            flat = flat.float()
        norm = float(torch.linalg.vector_norm(flat))
        return norm * norm / flat.numel(), float(flat.mean())
