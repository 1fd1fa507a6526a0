"""What all statistics of replicates share: how many replicates they need, and their input."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin.errors import UsageError

MIN_FOR_INTERVAL = 5
"""Fewest replicates for an interval."""

MIN_FOR_TEST = 10
"""Fewest paired replicates for a test."""

LEVEL = 0.95

Vector = NDArray[np.float64]


def to_vector(values: ArrayLike) -> Vector:
    """Numbers, one per replicate, of shape (n,); raises `UsageError` for any other shape."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise UsageError(
            f"Expected a list of numbers, one per replicate, not an array of shape {x.shape}."
        )
    return x


def to_matrix(values: ArrayLike, rows: str, columns: str) -> NDArray[np.float64]:
    """Numbers of shape (rows, columns); raises `UsageError` for any other shape.

    Args:
        values: the numbers.
        rows, columns: what they stand for, in words for the error.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise UsageError(
            f"Expected numbers in rows ({rows}) and columns ({columns}), not an array of shape "
            f"{x.shape}."
        )
    return x


def to_pairs(a: ArrayLike, b: ArrayLike) -> tuple[Vector, Vector]:
    """Two lists of numbers that belong to one another; raises `UsageError` if they do not match."""
    x, y = to_vector(a), to_vector(b)
    if x.shape != y.shape:
        raise UsageError(
            f"Expected as many values of a as of b, one per pair; received {len(x)} and {len(y)}."
        )
    return x, y


def check_level(level: float) -> float:
    """A confidence or a significance level in (0, 1); raises `UsageError` for anything else."""
    if not 0 < level < 1:
        raise UsageError(f"Expected a level between 0 and 1, such as 0.95; received {level}.")
    return level
