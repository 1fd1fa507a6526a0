"""Claims about what a start does to training: its speed, its end, and how well it generalizes."""

from __future__ import annotations

from collections.abc import Callable

from fanin.claims.arms import Arm, BestRateArm, StudyArm
from fanin.claims.case_study.claim_conditions import (
    ACCURACY,
    ACCURACY_REASON,
    EPOCHS,
    EPOCHS_REASON,
    EPOCHS_TO_TARGET,
    HE,
    LECUN,
    ORTHOGONAL,
    RANDOM,
    SCALED,
    SHOWN,
    XAVIER,
    take_best_rate,
)
from fanin.claims.case_study.xavier_claims import at_depth
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import MeanContrast, average, subtract
from fanin.claims.run_values import GeneralizationGap, Metric, RunValue

_SCALED_FOR = {
    "tanh, 2 layers": XAVIER,
    "tanh, 10 layers": XAVIER,
    "relu, 2 layers": HE,
    "relu, 10 layers": HE,
}
"""Setting → the initializer that was made for its activation."""

CONVERGENCE = Claim(
    name="convergence",
    statement="A poor initialization needs more epochs to the same accuracy.",
    supported_if="N(0, 0.05²), which is 2 to 4 times too small there, reaches a validation "
    "accuracy of 0.9 at least 2 epochs after the initializer that was made for the activation "
    "(Xavier, He), each at its own fastest rate, in 2 and in 10 layers of tanh and of relu units",
    refuted_if="one of the delays is shown to be smaller",
    smallest_effect=EPOCHS_REASON,
    studies=("claim-start",),
    parts=(
        Part(
            "Epochs to a validation accuracy of 0.9",
            tuple(
                subtract(
                    f"{setting}: random normal − {SHOWN[good]}",
                    take_best_rate(setting, RANDOM, EPOCHS_TO_TARGET),
                    take_best_rate(setting, good, EPOCHS_TO_TARGET),
                    EPOCHS,
                    unit="epochs",
                )
                for setting, good in _SCALED_FOR.items()
            ),
            if_refuted="In some networks the poor start is as fast, once its rate is its own.",
        ),
    ),
)


def _long(optimizer: str, initializer: str) -> Arm:
    return BestRateArm("claim-long", {"optimizer": optimizer, "initializer": initializer})


SUBOPTIMAL = Claim(
    name="suboptimal",
    statement="A poor initialization ends at a worse accuracy, however long it trains.",
    supported_if="after 60 epochs, three times as many as the other studies train, eight relu "
    "layers from N(0, 0.01²) and from N(0, 0.05²) end 0.02 of accuracy or more behind He, with "
    "momentum and with Adam, each at its best rate",
    refuted_if="one of the deficits is shown to be smaller",
    smallest_effect=ACCURACY_REASON,
    caveat="trainings of more than 60 epochs: that it holds however long is not shown",
    studies=("claim-long",),
    parts=tuple(
        Part(
            f"With {optimizer}",
            tuple(
                subtract(
                    f"{optimizer}, 60 epochs: He − N(0, {shown}²)",
                    _long(optimizer, HE),
                    _long(optimizer, name),
                    ACCURACY,
                )
                for name, shown in (("too_small", "0.01"), (RANDOM, "0.05"))
            ),
            if_refuted=f"With {optimizer} and enough epochs a poor start catches up.",
        )
        for optimizer in ("momentum", "Adam")
    ),
)

_SHALLOW = ("tanh, 2 layers", "relu, 2 layers", "sigmoid, 2 layers")
_REAL = {
    "mnist": ("mlp", Metric("test_accuracy"), 0.002, "accuracy", 1.0),
    "california-housing": ("regression", Metric("test_mae"), 500.0, "dollars", -1.0),
}


def _own_stream(data: str, initializer: str, value: RunValue) -> Arm:
    where = {"data": data, "shared_stream": "own", "initializer": initializer}
    return StudyArm("shared-stream", where, value)


def _lead_scaled(
    label: str, take: Callable[[str], Arm], smallest: float, unit: str, sign: float
) -> MeanContrast:
    """The mean of the scaled methods minus random normal, signed so that positive is better."""
    terms = (*average(map(take, SCALED), sign), (-sign, take(RANDOM)))
    return MeanContrast(label, terms, smallest, unit=unit)


def _lead_real(data: str) -> MeanContrast:
    model, metric, smallest, unit, sign = _REAL[data]
    return _lead_scaled(
        f"{model} on {data}: scaled methods ahead of random normal",
        lambda name: _own_stream(data, name, metric),
        smallest,
        unit,
        sign,
    )


def _lead_shallow(setting: str, value: RunValue, what: str, sign: float) -> MeanContrast:
    return _lead_scaled(
        f"{setting}: {what}",
        lambda name: take_best_rate(setting, name, value),
        0.01,
        "accuracy",
        sign,
    )


GENERALIZATION = Claim(
    name="generalization",
    statement="Xavier, He and LeCun generalize better than plain random.",
    supported_if="in networks that train from all of these starts, the mean of Xavier, He and "
    "LeCun is ahead of N(0, 0.05²): by 0.002 of test accuracy on MNIST, by 500 dollars of absolute "
    "error on California Housing, and by 0.01 of test accuracy in 2 layers of tanh, relu and "
    "sigmoid units on digits, at best rates",
    refuted_if="one of the leads is shown to be smaller",
    smallest_effect="0.002 on MNIST, a tenth of the error; 500 dollars on housing, 1 % of the "
    "error and more than replicates differ by; 0.01 on digits, 3 or 4 of its 359 test images. Deep "
    "networks are left out: plain random weights do not train there, which is another claim",
    caveat="other standard deviations: at the 784 inputs of MNIST, 0.05 is by accident about He's "
    "scale",
    studies=("shared-stream", "claim-start"),
    seen_before=("shared-stream",),
    parts=(
        Part(
            "On the case study's data",
            tuple(_lead_real(data) for data in _REAL),
            if_refuted="On the case study's data plain random weights generalize as well.",
        ),
        Part(
            "On digits, at best rates",
            tuple(
                _lead_shallow(setting, Metric(), "test accuracy, scaled − random", 1.0)
                for setting in _SHALLOW
            ),
            if_refuted="At best rates plain random weights generalize as well in some networks.",
        ),
        Part(
            "Beside it: training accuracy − test accuracy",
            tuple(
                _lead_shallow(
                    setting, GeneralizationGap(), "gap of random − gap of scaled methods", -1.0
                )
                for setting in _SHALLOW
            ),
            counts=False,
        ),
    ),
)


def _activation(activation: str, initializer: str) -> Arm:
    return StudyArm("activations", {"activation": activation, "initializer": initializer})


def _take_combined(initializer: str) -> Arm:
    return StudyArm(
        "combined", {"normalization": "none", "optimizer": "SGD", "initializer": initializer}
    )


def _rnn(initializer: str) -> Arm:
    return StudyArm("recurrent", {"model": "rnn", "activation": "tanh", "initializer": initializer})


def _beat(loser: str, *items: MeanContrast) -> Part:
    return Part(f"{loser} is beaten somewhere", items, "any")


_TANH_40 = "tanh, 40 layers"
_RELU_16 = "relu, 16 layers"

NO_WINNER = Claim(
    name="no-winner",
    statement="No initializer is best everywhere: the best depends on architecture, activation and "
    "problem.",
    supported_if="for each of torch's default, random normal, Xavier, He, LeCun, orthogonal and "
    "auto there is a network in which another one is ahead by 0.02 of accuracy or more, each at "
    "its tuned rate",
    refuted_if="one of them is shown to be less than 0.02 behind in every network that it is "
    "compared in",
    smallest_effect=ACCURACY_REASON,
    studies=("depth", "activations", "combined", "recurrent"),
    seen_before=("depth", "activations", "combined", "recurrent"),
    parts=(
        _beat(
            "torch's default",
            subtract(
                f"{_RELU_16}: He − torch's default",
                at_depth("relu", "16", HE),
                at_depth("relu", "16", "torch_default"),
                ACCURACY,
            ),
        ),
        _beat(
            "random normal",
            subtract(
                "relu, 8 layers, SGD: He − random normal",
                _take_combined(HE),
                _take_combined(RANDOM),
                ACCURACY,
            ),
        ),
        _beat(
            "Xavier",
            subtract(
                f"{_RELU_16}: He − Xavier",
                at_depth("relu", "16", HE),
                at_depth("relu", "16", XAVIER),
                ACCURACY,
            ),
            subtract("RNN, tanh: orthogonal − Xavier", _rnn(ORTHOGONAL), _rnn(XAVIER), ACCURACY),
        ),
        _beat(
            "He",
            subtract(
                f"{_TANH_40}: orthogonal − He",
                at_depth("tanh", "40", ORTHOGONAL),
                at_depth("tanh", "40", HE),
                ACCURACY,
            ),
            subtract(
                "relu, 40 layers: orthogonal with gain √2 − He",
                at_depth("relu", "40", "orthogonal, √2"),
                at_depth("relu", "40", HE),
                ACCURACY,
            ),
        ),
        _beat(
            "LeCun",
            subtract(
                "gelu, 8 layers: He − LeCun",
                _activation("gelu", HE),
                _activation("gelu", LECUN),
                ACCURACY,
            ),
            subtract(
                "relu, 8 layers, SGD: He − LeCun",
                _take_combined(HE),
                _take_combined(LECUN),
                ACCURACY,
            ),
        ),
        _beat(
            "orthogonal (gain 1)",
            subtract(
                f"{_RELU_16}: He − orthogonal",
                at_depth("relu", "16", HE),
                at_depth("relu", "16", ORTHOGONAL),
                ACCURACY,
            ),
        ),
        _beat(
            "auto",
            subtract(
                "relu, 40 layers: orthogonal with gain √2 − auto",
                at_depth("relu", "40", "orthogonal, √2"),
                at_depth("relu", "40", "auto"),
                ACCURACY,
            ),
            subtract(
                f"{_TANH_40}: orthogonal − auto",
                at_depth("tanh", "40", ORTHOGONAL),
                at_depth("tanh", "40", "auto"),
                ACCURACY,
            ),
        ),
    ),
)

CLAIMS = (CONVERGENCE, SUBOPTIMAL, GENERALIZATION, NO_WINNER)
