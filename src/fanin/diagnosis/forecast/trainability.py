"""The penalties of a start, and the probability that they leave: logistic regression.

    ln(p / (1 − p)) = intercept − Σ coefficient · penalty

Each penalty is 0 for a start without that fault and grows with it; no coefficient is negative. So
the forecast never gets better by a fault, and its reasons add up.

The coefficients were fitted on the development grid alone (`python benchmarks/audit_forecast.py
fit`), one set for each optimizer. How well they tell other networks, activations and data is in
docs/audit.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fanin.diagnosis.forecast.start_quantities import StartQuantities

Family = Literal["adam", "sgd"]
"""The optimizers of the grid."""

MOST = 12.0
"""No drift counts more than a factor of e to this power: what is lost is lost."""
FULL = 0.5
"""A readout that counts as nothing lost: the inputs of the grid's data themselves give 0.5 to 0.8.
"""
USUAL_STEPS = 150


def penalize_drift(found: StartQuantities, steps: int) -> float:
    """|ln gradient ratio| beyond a factor of e, times ln(layers / 2).

    Two layers are put right in a few steps whatever their scales are. The more layers must move
    together, the longer that takes.
    """
    return _get_excess(abs(math.log(found.gradient))) * _get_log_depth(found)


def penalize_depth(found: StartQuantities, steps: int) -> float:
    """ln(layers / 2)."""
    return _get_log_depth(found)


def penalize_lost_input(found: StartQuantities, steps: int) -> float:
    """The share of a full readout that is missing; 0 if there is none to be had."""
    if found.readout is None:
        return 0.0
    return 1 - min(max(found.readout, 0.0), FULL) / FULL


def penalize_loss(found: StartQuantities, steps: int) -> float:
    """ln(loss / loss of a model that knows nothing), at least 0."""
    return min(max(math.log(found.loss), 0.0), MOST)


def penalize_haste(found: StartQuantities, steps: int) -> float:
    """ln(150 / steps): fewer steps leave less time; more are not counted."""
    return max(math.log(USUAL_STEPS / steps), 0.0)


def _get_excess(drift: float) -> float:
    return min(max(drift - 1, 0.0), MOST)


def _get_log_depth(found: StartQuantities) -> float:
    return max(math.log(max(found.layers, 1) / 2), 0.0)


Penalty = Callable[[StartQuantities, int], float]

PENALTIES: Mapping[str, Penalty] = {
    "drift": penalize_drift,
    "lost input": penalize_lost_input,
    "loss": penalize_loss,
    "depth": penalize_depth,
    "steps": penalize_haste,
}


@dataclass(frozen=True)
class Fit:
    """What was fitted for one optimizer."""

    intercept: float
    coefficients: Mapping[str, float]
    """By penalty."""


FITS: Mapping[Family, Fit] = {
    "adam": Fit(3.0, dict.fromkeys(PENALTIES, 0.5)),
    "sgd": Fit(3.0, dict.fromkeys(PENALTIES, 0.5)),
}

LIKELY, UNLIKELY = 0.7, 0.3
"""The probabilities from which the verdict is certain enough to be one."""


def compute_penalties(found: StartQuantities, steps: int) -> dict[str, float]:
    """The penalty of each name."""
    return {name: penalize(found, steps) for name, penalize in PENALTIES.items()}


def weigh_penalties(penalties: Mapping[str, float], family: Family) -> dict[str, float]:
    """What each penalty takes from the log-odds: 0 or less."""
    fit = FITS[family]
    return {name: -fit.coefficients[name] * value for name, value in penalties.items()}


def compute_probability(penalties: Mapping[str, float], family: Family) -> float:
    """That the start trains."""
    log_odds = FITS[family].intercept + sum(weigh_penalties(penalties, family).values())
    return 1 / (1 + math.exp(-log_odds))
