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

MOST = 40.0
"""No drift counts more than a factor of e to this power: what is lost is lost."""
FULL = 0.5
"""A readout that counts as nothing lost: the inputs of the grid's data themselves give 0.5 to 0.8.
"""
USUAL_STEPS = 150


def penalize_drift(found: StartQuantities, steps: int) -> float:
    """The root of the larger of |ln gradient ratio| and |ln effect of the weights|: a root, since
    the first factors of e cost most. Sound starts have 0.5 to 1.7.

    Gradients that change on their way leave some layers untrained at any rate that others bear. If
    the loss hardly depends on any weight, the signal has vanished; if it depends strongly on one,
    every step overshoots.
    """
    effect, ratio = math.log(found.most_effect), math.log(found.gradient)
    return math.sqrt(min(max(abs(effect), abs(ratio)), MOST))


def penalize_lost_input(found: StartQuantities, steps: int) -> float:
    """The share of a full readout that is missing; 0 if there is none to be had."""
    if found.readout is None:
        return 0.0
    return 1 - min(max(found.readout, 0.0), FULL) / FULL


def penalize_haste(found: StartQuantities, steps: int) -> float:
    """ln(150 / steps), at least 0: fewer steps leave less time. More count as the grid's most."""
    return max(math.log(USUAL_STEPS / steps), 0.0)


Penalty = Callable[[StartQuantities, int], float]

PENALTIES: Mapping[str, Penalty] = {
    "drift": penalize_drift,
    "lost input": penalize_lost_input,
    "steps": penalize_haste,
}


@dataclass(frozen=True)
class Fit:
    """What was fitted for one optimizer."""

    intercept: float
    coefficients: Mapping[str, float]
    """By penalty."""


FITS: Mapping[Family, Fit] = {
    "adam": Fit(7.92, {"drift": 1.97, "lost input": 2.77, "steps": 0.74}),
    "sgd": Fit(9.08, {"drift": 3.71, "lost input": 0.83, "steps": 0.25}),
}
"""Of 317 cases of the development grid outside the grey zone, with a ridge of 0.3. Adam, which
rescales gradients, forgives drift; plain gradient descent does not."""

LIKELY, UNLIKELY = 0.7, 0.3
"""The probabilities from which there is a verdict; between them the forecast cannot tell."""


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
