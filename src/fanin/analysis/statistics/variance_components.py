"""Variance components of crossed random factors, such as seeds of initialization and of order.

Every seed of one factor is combined with every seed of the others, one run for each combination.
The model is a sum of independent normal effects, one for each set S of factors,

    y = μ + Σ_S effect_S,   var(effect_S) = σ²_S,

whose expected mean squares are E[MS_S] = Σ_{T ⊇ S} σ²_T · N / Π_{i ∈ T} n_i. Inclusion and
exclusion solves them: σ²_S = (Π_{i ∈ S} n_i / N) · Σ_{T ⊇ S} (−1)^{|T| − |S|} · MS_T. The
interaction of all factors cannot be told from noise that no seed names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin import seeds
from fanin.analysis.statistics.vectors import LEVEL, check_level
from fanin.errors import UsageError

DRAWS = 20_000


@dataclass(frozen=True)
class VarianceComponent:
    """The variance that one factor, or one interaction of factors, adds to a run's value."""

    factors: tuple[str, ...]
    variance: float
    """The estimate; it may be negative where the true one is near zero."""
    low: float
    high: float
    """Of the variance; never below zero."""
    share: float
    """Of the sum of all components, negative ones as zero."""
    share_low: float
    share_high: float

    @property
    def sd(self) -> float:
        """√variance, 0 if that is negative: how far a run moves if this alone is drawn anew."""
        return math.sqrt(max(self.variance, 0.0))


@dataclass(frozen=True)
class VarianceComponents:
    """All components of a crossed design."""

    components: tuple[VarianceComponent, ...]
    """Single factors first, then interactions, the one of all factors last: it holds what is left.
    """
    levels: tuple[int, ...]
    """Seeds of each factor."""
    mean: float
    total: float
    """The sum of the variances, negative ones as zero: that of a run with all seeds drawn anew."""

    def get(self, *factors: str) -> VarianceComponent:
        """The component of a factor, or of an interaction."""
        wanted = set(factors)
        for component in self.components:
            if set(component.factors) == wanted:
                return component
        raise UsageError(f"There is no component of {' × '.join(factors) or 'nothing'}.")


def estimate_components(
    values: ArrayLike, factors: Sequence[str], level: float = LEVEL
) -> VarianceComponents:
    """The variance components of a crossed design, with intervals.

    Intervals are generalized ones: each mean square with ν degrees of freedom is MS·ν/χ²_ν of its
    expectation, so draws of χ² from a fixed stream give draws of every component and share, cut at
    zero, whose quantiles are the ends.

    Args:
        values: one axis per factor, n_i ≥ 2 seeds long; no nan. A diverged run has no value: a
            design with one has to be judged otherwise, such as by the divergence rate.
        factors: the axes' names.
        level: the intervals' confidence, in (0, 1).

    Reference: S. R. Searle, G. Casella and C. E. McCulloch, Variance Components, 1992, chapter 4;
    S. Weerahandi, Journal of the American Statistical Association 88, 1993; R. K. Burdick, C. M.
    Borror and D. C. Montgomery, Design and Analysis of Gauge R&R Studies, 2005, chapter 5.
    """
    y = np.asarray(values, dtype=np.float64)
    _check_design(y, factors)
    sets = [
        chosen
        for size in range(1, y.ndim + 1)
        for chosen in itertools.combinations(range(y.ndim), size)
    ]
    squares = np.array([_compute_mean_square(y, chosen) for chosen in sets])
    freedom = tuple(math.prod(y.shape[i] - 1 for i in chosen) for chosen in sets)
    solve = _make_solution(sets, y.shape)
    variances = solve @ squares
    drawn = np.maximum(squares * _draw_factors(freedom) @ solve.T, 0.0)
    sums = drawn.sum(axis=1, keepdims=True)
    drawn_shares = np.divide(drawn, sums, out=np.zeros_like(drawn), where=sums > 0)
    tail = (1 - check_level(level)) / 2
    ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    share_ends = np.quantile(drawn_shares, [tail, 1 - tail], axis=0)
    kept = np.maximum(variances, 0.0)
    total = float(kept.sum())
    return VarianceComponents(
        components=tuple(
            VarianceComponent(
                factors=tuple(factors[i] for i in chosen),
                variance=float(variances[at]),
                low=float(ends[0, at]),
                high=float(ends[1, at]),
                share=float(kept[at]) / total if total else math.nan,
                share_low=float(share_ends[0, at]),
                share_high=float(share_ends[1, at]),
            )
            for at, chosen in enumerate(sets)
        ),
        levels=y.shape,
        mean=float(y.mean()),
        total=total,
    )


def _compute_mean_square(y: NDArray[np.float64], chosen: tuple[int, ...]) -> float:
    """MS_S: the sum of squares of the effects of the factors in S over its degrees of freedom."""
    others = tuple(i for i in range(y.ndim) if i not in chosen)
    means = y.mean(axis=others, keepdims=True)
    effects = means
    for i in chosen:  # an effect sums to zero along each of its factors
        effects = effects - effects.mean(axis=i, keepdims=True)
    repeats = y.size / effects.size
    freedom = math.prod(y.shape[i] - 1 for i in chosen)
    return float(np.square(effects).sum() * repeats / freedom)


def _make_solution(sets: Sequence[tuple[int, ...]], shape: Sequence[int]) -> NDArray[np.float64]:
    """The matrix that turns mean squares into variances."""
    size = math.prod(shape)
    return np.array(
        [
            [
                math.prod(shape[i] for i in chosen) / size * (-1) ** (len(other) - len(chosen))
                if set(chosen) <= set(other)
                else 0.0
                for other in sets
            ]
            for chosen in sets
        ]
    )


@lru_cache(maxsize=2)
def _draw_factors(freedom: tuple[int, ...]) -> NDArray[np.float64]:
    """Draws of ν/χ²_ν, which turn a mean square into one of its expectation."""
    generator = seeds.make_numpy_generator(0, "variance components", *freedom)
    return np.asarray(freedom / generator.chisquare(freedom, (DRAWS, len(freedom))))


def _check_design(y: NDArray[np.float64], factors: Sequence[str]) -> None:
    if y.ndim != len(factors) or y.ndim == 0 or min(y.shape) < 2:
        raise UsageError(
            f"Expected an axis for each of the factors {', '.join(factors)}, two or more seeds "
            f"long; received an array of shape {y.shape}."
        )
    if not np.isfinite(y).all():
        raise UsageError(
            f"{int((~np.isfinite(y)).sum())} of {y.size} values of the crossed design are missing "
            "or not finite: every combination of seeds needs a run that trained to its end."
        )
