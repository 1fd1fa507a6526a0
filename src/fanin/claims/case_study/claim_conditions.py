"""Conditions that several claims read, and the smallest effects of interest that they share."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fanin.claims.arms import Arm, BestRateArm, ObservedArm, StudyArm
from fanin.claims.contrast import MeanContrast
from fanin.claims.run_values import EpochsToTarget, Metric, RunValue

ACCURACY = 0.02
ACCURACY_REASON = (
    "0.02 of accuracy on digits, 7 of its 359 test images: replicates of one condition differ by "
    "about as much, so less is lost among seeds"
)
COLLAPSE = 0.05
COLLAPSE_REASON = (
    "0.05 of accuracy on digits: more than twice what replicates of one condition differ by, so a "
    "single run shows it"
)
EPOCHS = 2.0
EPOCHS_REASON = "2 epochs, a tenth of the 20 that are trained"
TARGET = 0.9
"""Validation accuracy on digits that counts as learnt. Good starts reach 0.95 to 0.97."""

TWICE = math.log(2)

RANDOM, XAVIER, HE, LECUN, ORTHOGONAL = (
    "random_normal",
    "xavier_uniform",
    "he_normal",
    "lecun_normal",
    "orthogonal",
)
SCALED = (XAVIER, HE, LECUN)
SHOWN = {
    RANDOM: "random normal",
    XAVIER: "Xavier",
    HE: "He",
    LECUN: "LeCun",
    ORTHOGONAL: "orthogonal",
    "torch_default": "torch's default",
    "orthogonal, √2": "orthogonal, gain √2",
    "auto": "auto",
    "random_uniform": "random uniform",
}
"""Label in a study → what it is called in words."""
SETTINGS = {
    "tanh, 2 layers": {"activation": "tanh", "model.depth": "2 layers"},
    "tanh, 10 layers": {"activation": "tanh", "model.depth": "10 layers"},
    "relu, 2 layers": {"activation": "relu", "model.depth": "2 layers"},
    "relu, 10 layers": {"activation": "relu", "model.depth": "10 layers"},
    "sigmoid, 2 layers": {"activation": "sigmoid", "model.depth": "2 layers"},
}
"""Settings of the study claim-start."""

EPOCHS_TO_TARGET = EpochsToTarget(TARGET)


def take_best_rate(setting: str, initializer: str, value: RunValue | None = None) -> Arm:
    """An initializer in a setting of claim-start, at its best rate: for epochs the rate that takes
    the fewest of them, else the one with the lowest validation loss.
    """
    where = {**SETTINGS[setting], "initializer": initializer}
    if isinstance(value, EpochsToTarget):
        return BestRateArm("claim-start", where, value, score=value)
    return BestRateArm("claim-start", where, value or Metric())


def take_rate(setting: str, initializer: str, rate: str, value: RunValue | None = None) -> Arm:
    """An initializer in a setting of claim-start, at one rate."""
    where = {**SETTINGS[setting], "initializer": initializer, "learning_rate": rate}
    return StudyArm("claim-start", where, value or Metric())


def keep_variance(
    activation: str, start: str, shown: str, directions: Iterable[str] = ("forward", "backward")
) -> tuple[MeanContrast, ...]:
    """That the variance of activations and of gradients changes by less than a factor of two over
    ten layers.
    """
    words = {"forward": "activations", "backward": "gradients"}
    return tuple(
        MeanContrast(
            f"{shown}, {activation}: variance of {words[direction]} over 10 layers",
            ((1.0, observe_signal(activation, start, direction)),),
            TWICE,
            "same",
            "ratio",
        )
        for direction in directions
    )


def observe_signal(activation: str, start: str, direction: str) -> Arm:
    """ln of the ratio of variances ten layers apart."""
    return ObservedArm("signal", {"activation": activation, "start": start}, direction)
