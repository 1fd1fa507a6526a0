"""Sign-flip tests of paired differences: exact, and without a distribution to suppose.

If two values of a factor do not differ, a replicate's difference is as likely to be d as −d. So
each of the 2ⁿ patterns of signs is equally likely, and p is the share of patterns whose sum is at
least as far from zero as the one that was seen. From n = 31 on, where 2ⁿ are too many, p is
(1 + hits) / (1 + `DRAWS`) over random patterns of a fixed stream.

Reference: R. A. Fisher, The Design of Experiments, 1935, section 21; B. Phipson and G. K. Smyth,
Statistical Applications in Genetics and Molecular Biology 9, 2010 (the 1 in numerator and
denominator).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin import seeds
from fanin.analysis.statistics.vectors import MIN_FOR_TEST, to_matrix, to_vector

MOST_EXACT = 30
"""The most differences whose sign patterns are all counted."""

DRAWS = 9_999
"""Random patterns if there are more."""

_Signs = NDArray[np.int8]

_MOST_JOINT = 14
_ROUNDING = 1e-12
_CHUNK = 2_000_000


def compute_flip_p_value(differences: ArrayLike) -> float:
    """The two-sided p value of Fisher's sign-flip test; nan below `MIN_FOR_TEST` differences.

    Args:
        differences: a − b of n paired replicates, shape (n,).
    """
    d = to_vector(differences)
    if len(d) < MIN_FOR_TEST or np.isnan(d).any():
        return math.nan
    scale = float(np.abs(d).sum())
    threshold = abs(float(d.sum())) - _ROUNDING * scale
    if threshold <= 0:
        return 1.0
    if len(d) <= MOST_EXACT:
        return _count_exactly(d, threshold)
    hits = sum(
        int((np.abs(signs @ d) >= threshold).sum())
        for signs in _split_signs(_draw_signs(len(d)), len(d))
    )
    return (1 + hits) / (1 + DRAWS)


def adjust_jointly(differences: ArrayLike) -> NDArray[np.float64]:
    """p values of several paired comparisons, corrected for all of them together.

    The signs of a whole replicate are flipped at once, which keeps how the comparisons depend on
    one another. With t_j the t statistic of comparison j, ordered by |t_1| ≥ |t_2| ≥ …,

        p_j = max over i ≤ j of  P(max over l ≥ i of |t*_l| ≥ |t_i|)

    over the sign patterns (all up to 14 replicates, else `DRAWS` random ones and the one that was
    seen): the step-down procedure of Westfall and Young. The probability of one or more false
    claims is at most the level, whichever comparisons are looked at. It loses less than Holm's
    correction if comparisons depend on one another, as those of all pairs of values do.

    Args:
        differences: shape (replicates, comparisons); nan where a replicate lacks a pair.

    Returns:
        One p value per comparison; nan for one with fewer than `MIN_FOR_TEST` pairs.

    Reference: P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, 1993; J. P. Romano
    and M. Wolf, Journal of the American Statistical Association 100, 2005.
    """
    d = to_matrix(differences, "replicates", "comparisons")
    tested = np.flatnonzero((~np.isnan(d)).sum(axis=0) >= MIN_FOR_TEST)
    p_values = np.full(d.shape[1], math.nan)
    if len(tested) == 0:
        return p_values
    d = d[:, tested]
    d = d[~np.isnan(d).all(axis=1)]
    counts = (~np.isnan(d)).sum(axis=0)
    d = np.nan_to_num(d)
    squares = np.square(d).sum(axis=0)
    seen = _square_t(d.sum(axis=0), squares, counts)
    order = np.argsort(-seen, kind="stable")
    d, counts, squares, seen = d[:, order], counts[order], squares[order], seen[order]
    signs, is_complete = _list_joint_signs(len(d))
    hits = np.zeros(len(order), dtype=np.int64)
    for part in _split_signs(signs, max(d.shape)):
        flipped = _square_t(part @ d, squares, counts)
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        hits += (largest >= seen * (1 - 1e-9)).sum(axis=0)
    shares = hits / len(signs) if is_complete else (1 + hits) / (1 + len(signs))
    p_values[tested[order]] = np.maximum.accumulate(shares)
    return p_values


def _count_exactly(d: NDArray[np.float64], threshold: float) -> float:
    """The share of all 2ⁿ patterns with |sum| ≥ threshold > 0.

    A pattern is one of the first half's and one of the second half's: for each sum of the first,
    the sums of the second that reach the threshold are found in a sorted list. Both tails have
    equally many, as every pattern has its opposite.
    """
    first, second = _list_sums(d[: len(d) // 2]), np.sort(_list_sums(d[len(d) // 2 :]))
    below = np.searchsorted(second, threshold - first, side="left")
    upper = len(first) * len(second) - int(below.sum())
    return min(1.0, 2 * upper / (len(first) * len(second)))


def _list_sums(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of ±d over all patterns of signs."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _square_t(
    sums: NDArray[np.float64], squares: NDArray[np.float64], counts: NDArray[np.int_]
) -> NDArray[np.float64]:
    """t² of differences by their sum and their sum of squares, which no flip changes.

    t² = (n − 1)·m² / (Σd²/n − m²) with the mean m; infinite if all differences are equal and not
    zero, 0 if all are zero.
    """
    squared_mean, mean_square = np.square(sums / counts), squares / counts
    left = mean_square - squared_mean
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(left > _ROUNDING * mean_square, (counts - 1) * squared_mean / left, math.inf)
    return np.where(mean_square > 0, t, 0.0)


def _list_joint_signs(n: int) -> tuple[_Signs, bool]:
    """Patterns of signs of n replicates, and whether they are all that differ in |t|."""
    return (_draw_signs(n), False) if n > _MOST_JOINT else (_list_signs(n), True)


def _split_signs(signs: _Signs, width: int) -> Iterator[NDArray[np.float64]]:
    """The patterns in parts that make matrices of a moderate size."""
    step = max(_CHUNK // width, 1)
    for first in range(0, len(signs), step):
        yield signs[first : first + step].astype(np.float64)


@lru_cache(maxsize=8)
def _list_signs(n: int) -> _Signs:
    """All patterns whose last sign is +; the others are their opposites."""
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)[None, :] & 1
    return np.asarray(1 - 2 * bits, dtype=np.int8)


@lru_cache(maxsize=4)
def _draw_signs(n: int) -> _Signs:
    generator = seeds.make_numpy_generator(0, "sign flips", n)
    return np.asarray(1 - 2 * generator.integers(0, 2, (DRAWS, n), dtype=np.int8), dtype=np.int8)
