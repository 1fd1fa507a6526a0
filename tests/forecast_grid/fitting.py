"""The fit of the forecast's coefficients: logistic regression, none of them negative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fanin.diagnosis.forecast.trainability import PENALTIES, Fit

RIDGE = 0.3
"""The penalty on squared coefficients; the intercept is free."""


def fit_logistic(rows: Sequence[dict[str, float]], trains: Sequence[bool]) -> Fit:
    """Intercept and coefficients from the penalties of each case, and whether it trained."""
    x = np.array([[row[name] for name in PENALTIES] for row in rows])
    y = np.array(trains, dtype=float)

    def compute(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_odds = weights[0] - x @ weights[1:]
        loss = float(np.logaddexp(0, np.where(y > 0, -log_odds, log_odds)).sum())
        excess = 1 / (1 + np.exp(-log_odds)) - y
        slopes = -(x.T @ excess) + 2 * RIDGE * weights[1:]
        return loss + RIDGE * float((weights[1:] ** 2).sum()), np.r_[excess.sum(), slopes]

    found = minimize(
        compute,
        np.r_[1.0, np.full(len(PENALTIES), 0.1)],
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None), *[(0, None)] * len(PENALTIES)],
    )
    values = [float(one) for one in found.x]
    return Fit(values[0], dict(zip(PENALTIES, values[1:], strict=True)))
