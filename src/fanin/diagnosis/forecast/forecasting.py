"""From an audit to a forecast: `make_forecast`."""

from __future__ import annotations

import math

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.forecast.covered_grid import list_gaps
from fanin.diagnosis.forecast.forecast_record import Forecast, Outlook, Reason
from fanin.diagnosis.forecast.start_quantities import StartQuantities, measure_quantities
from fanin.diagnosis.forecast.trainability import (
    LIKELY,
    UNLIKELY,
    USUAL_STEPS,
    Family,
    compute_penalties,
    compute_probability,
    weigh_penalties,
)
from fanin.errors import FitError, UnknownName, UsageError, quote

FAMILIES: dict[str, Family] = {"adam": "adam", "adamw": "adam", "sgd": "sgd"}
"""AdamW takes Adam's steps but for a decay that is small within the steps of the grid."""


def make_forecast(examination: Examination, optimizer: str, steps: int, name: str) -> Forecast:
    """Whether a model that was examined will train.

    Args:
        examination: of an audit with a target or a loss.
        optimizer: ``adam``, ``adamw`` or ``sgd`` (without momentum), each at its best rate.
        steps: of training.
        name: what the model is called.

    Raises:
        UnknownName: an optimizer that nothing is known of.
        UsageError: steps below 1, or an audit without a loss.
        FitError: a model that could not be run.
    """
    family = find_family(optimizer)
    check_steps(steps)
    measurement = examination.measurement
    if measurement is None:
        raise FitError(
            "A forecast needs a forward and a backward pass, and this model could not be run: "
            f"{examination.problem}"
        )
    if measurement.loss.kind == "cotangent":
        raise UsageError(
            "A forecast needs a loss, and this audit has none: "
            f"{examination.loss_problem or 'no target was given.'} "
            "Audit with target=, or with loss=."
        )
    if not measurement.layers:
        raise FitError("A forecast needs layers with weights, and this model has none.")
    found = measure_quantities(examination, measurement)
    penalties = compute_penalties(found, steps)
    probability = compute_probability(penalties, family)
    weights = weigh_penalties(penalties, family)
    texts = describe_quantities(found, steps)
    reasons = [
        Reason(name=key, value=texts[key][0], log_odds=weights[key], text=texts[key][1])
        for key in penalties
    ]
    return Forecast(
        verdict=judge_probability(probability),
        probability=probability,
        reasons=tuple(sorted(reasons, key=lambda one: one.log_odds)),
        outside=tuple(list_gaps(examination, measurement, steps)),
        optimizer=optimizer,
        steps=steps,
        model_name=name,
        quantities=found,
    )


def find_family(optimizer: object) -> Family:
    """The optimizer of the grid that stands for this one. Raises `UnknownName`."""
    if not isinstance(optimizer, str) or optimizer.lower() not in FAMILIES:
        raise UnknownName.suggest("optimizer of a forecast", optimizer, FAMILIES)
    return FAMILIES[optimizer.lower()]


def check_steps(steps: object) -> None:
    """Raise `UsageError` unless it is a whole number of at least 1."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise UsageError(f"steps is a whole number of at least 1; received {quote(steps)}.")


def judge_probability(probability: float) -> Outlook:
    """The verdict of a probability."""
    if probability >= LIKELY:
        return "trains"
    return "does not train" if probability <= UNLIKELY else "cannot tell"


def describe_quantities(found: StartQuantities, steps: int) -> dict[str, tuple[float, str]]:
    """By penalty: the number that decides it, and the sentence that says it."""
    return {
        "drift": _describe_drift(found),
        "lost input": _describe_readout(found),
        "steps": (float(steps), f"{steps} steps; fewer than {USUAL_STEPS} leave less time."),
    }


def _describe_drift(found: StartQuantities) -> tuple[float, str]:
    """The larger of the two drifts, in words."""
    ratio, effect = found.gradient, found.most_effect
    if abs(math.log(ratio)) >= abs(math.log(effect)):
        change = "falls" if ratio < 1 else "grows"
        theory = f" (theory: {found.depth_scales:.2g} depth scales)" if found.depth_scales else ""
        return ratio, (
            f"The gradient {change} from the last to the first of {found.layers} layers, to "
            f"{ratio:.2g} of its length{theory}."
        )
    start = f"it starts at {found.loss:.3g} times that of a model that knows nothing"
    if effect < 1:
        return effect, (
            f"The loss hardly depends on any weight: at most {effect:.2g} for a relative change of "
            f"1; {start}."
        )
    return effect, (
        f"The loss changes by up to {effect:.2g} for a relative change of one weight tensor by 1; "
        f"{start}."
    )


def _describe_readout(found: StartQuantities) -> tuple[float, str]:
    alike = f"samples differ by {found.difference:.2g} where they are most alike"
    if found.readout is None:
        return math.nan, f"What the last layer can read was not measured; {alike}."
    return found.readout, (
        f"A linear reading of what reaches the last layer explains {max(found.readout, 0):.0%} of "
        f"the target of samples left out; {alike}."
    )
