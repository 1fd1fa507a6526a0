"""Two samples of 420,000 weights, one of fanin and one of another library: have they one
distribution?
"""

from __future__ import annotations

import math

import numpy as np
import torch
from initializer_cases import filled

LEVEL = 1e-4
PLANTED = 1.03

MATRIX = (600, 700)
KERNEL = (200, 300, 7)
"""Shapes as torch has them: (out, in, *kernel). Keras and JAX have (*kernel, in, out)."""


def elsewhere(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of torch as Keras and JAX have it."""
    outputs, inputs, *kernel = shape
    return (*kernel, inputs, outputs)


def as_torch(weight: object) -> torch.Tensor:
    """A weight of Keras or JAX, (*kernel, in, out), as torch has it."""
    array = torch.from_numpy(np.array(weight))
    return array.permute(-1, -2, *range(array.ndim - 2))


def ours(spec: str, shape: tuple[int, ...]) -> np.ndarray:
    return filled(spec, torch.empty(shape)).flatten().double().numpy()


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of the two samples' distribution functions; both samples sorted (scipy's
    is slow at this size).
    """
    n, m = a.size, b.size
    above = np.arange(1, n + 1) / n - np.searchsorted(b, a, side="right") / m
    below = np.searchsorted(b, a, side="left") / m - np.arange(n) / n
    return float(max(above.max(), below.max()))


def compare(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether mean and standard deviation agree within 4.9 standard errors and a two-sample KS test
    lets them stand.

    Asserts on the way that the KS test alone would see a spread that is 3 % off.
    """
    assert a.size == b.size == 420_000
    a, b = np.sort(a), np.sort(b)
    spread, n = max(a.std(), b.std()), a.size
    critical = math.sqrt(-math.log(LEVEL / 2) / n)
    assert ks_distance((a - a.mean()) * PLANTED + a.mean(), b) > critical
    return bool(
        abs(a.mean() - b.mean()) < 4.9 * spread * math.sqrt(2 / n)
        and abs(a.std() / b.std() - 1) < 4.9 / math.sqrt(n)
        and ks_distance(a, b) < critical
    )
