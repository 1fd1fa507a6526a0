"""Several comparisons at once: Holm's correction of their p values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin.analysis.statistics.vectors import to_vector


def correct_holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p values corrected after Holm: p_(i) becomes max over j ≤ i of min(1, (m − j + 1)·p_(j)).

    m is the number of p values that are there; nan stays nan and does not count. The probability of
    one or more false claims is at most the level, however the comparisons depend on one another.

    Reference: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
    Journal of Statistics 6, 1979.
    """
    p = to_vector(p_values)
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # nan is last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return corrected
