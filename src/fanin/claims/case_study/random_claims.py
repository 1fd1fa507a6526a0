"""Claims about plain random weights: one standard deviation for all layers."""

from __future__ import annotations

import math

from fanin.claims.arms import Arm, StudyArm
from fanin.claims.case_study.claim_conditions import (
    COLLAPSE,
    COLLAPSE_REASON,
    HE,
    RANDOM,
    SCALED,
    SHOWN,
    observe_signal,
)
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import MeanContrast, subtract
from fanin.claims.spread_contrasts import SpreadContrast

_HUNDREDFOLD = math.log(100)
_GAINS = ("0.6", "0.8", "1.0", "1.2", "1.41", "1.7", "2.0", "2.5")
_DEPTHS = ("5", "10", "20", "40")
_RIVALS = dict.fromkeys(_GAINS, ("1.41",)) | {"1.41": ("1.2", "1.7")}


def _grow(std: str, direction: str, sign: float) -> MeanContrast:
    words = {"forward": "activations", "backward": "gradients"}
    verb = "shrinks" if sign < 0 else "grows"
    return MeanContrast(
        f"σ = {std}: variance of {words[direction]} {verb} over 10 relu layers",
        ((sign, observe_signal("relu", f"normal {std}", direction)),),
        _HUNDREDFOLD,
        unit="ratio",
    )


def _at_gain(gain: str, depth: str) -> Arm:
    return StudyArm(
        "phase-diagram", {"activation": "relu", "model.depth": depth, "initializer.gain": gain}
    )


def _lead(ahead: str, behind: str, depth: str) -> MeanContrast:
    return subtract(
        f"relu, {depth} layers: σ_w = {ahead} − {behind}",
        _at_gain(ahead, depth),
        _at_gain(behind, depth),
        COLLAPSE,
    )


RANDOM_SCALE = Claim(
    name="random-scale",
    statement="N(0, σ²) with σ too small makes activations and gradients vanish with depth, too "
    "large makes them explode; no single σ suits all depths.",
    supported_if="over ten relu layers of 256 units the variance of activations and of gradients "
    "falls by a factor of 100 or more at σ = 0.02 and 0.05, and grows as much at σ = 0.2 (He's σ "
    "is 0.088 there); and even the critical σ, √2/√width, is beaten by 1.2/√width or 1.7/√width by "
    "0.05 of accuracy or more in 5, 10, 20 or 40 relu layers",
    refuted_if="one of the changes is shown to be smaller; or the critical σ is shown to be less "
    "than 0.05 behind both at every depth",
    amendment="At first all eight σ of the phase diagram had to be beaten, in 36 contrasts. With "
    "so many, ten replicates leave a median no interval where runs diverge. The question turns on "
    "the critical σ alone, so the others now stand beside it",
    smallest_effect=f"A factor of 100 over ten layers, 1.6 per layer. {COLLAPSE_REASON}",
    caveat="networks whose layers differ in width, where each width needs a σ of its own, which is "
    "what He's rule gives; and other learning rates than 0.001",
    studies=("phase-diagram",),
    seen_before=("phase-diagram",),
    observations=("signal",),
    parts=(
        Part(
            "Too small: the signal and its gradient vanish",
            tuple(
                _grow(std, direction, -1.0)
                for std in ("0.02", "0.05")
                for direction in ("forward", "backward")
            ),
            if_refuted="They do not vanish.",
        ),
        Part(
            "Too large: they explode",
            tuple(_grow("0.2", direction, 1.0) for direction in ("forward", "backward")),
            if_refuted="They do not explode.",
        ),
        Part(
            "No single σ suits all depths",
            (
                Part(
                    "σ_w = √2 is beaten at some depth",
                    tuple(
                        _lead(rival, "1.41", depth) for rival in ("1.2", "1.7") for depth in _DEPTHS
                    ),
                    "any",
                    if_refuted="σ_w = √2 is beaten at no depth.",
                ),
            ),
            if_refuted="One σ serves networks of one width at every depth that was tried: the "
            "critical one, √2/√width for relu, which is He's.",
        ),
        Part(
            "Beside it: each other σ_w at 40 layers, against √2",
            tuple(_lead("1.41", gain, "40") for gain in _GAINS if gain != "1.41"),
            counts=False,
        ),
    ),
)


def _spread(model: str, initializer: str) -> Arm:
    return StudyArm("claim-spread", {"model": model, "initializer": initializer})


RANDOM_FLUCTUATES = Claim(
    name="random-fluctuates",
    statement="Plain random weights (uniform or normal) vary more from model to model than the "
    "scaled methods.",
    supported_if="the standard deviation of test accuracy over models is at least 1.5 times that "
    "of Xavier, He and LeCun (root mean square), in the case study's MLP and in one of six relu "
    "layers, for normal and for uniform weights",
    refuted_if="one of the four ratios is shown to be below 1.5",
    smallest_effect="A factor of 1.5 between standard deviations: 40 models tell it from none, and "
    "a reader of single runs would not notice less",
    studies=("claim-spread",),
    parts=tuple(
        Part(
            f"In the {model} network",
            tuple(
                SpreadContrast(
                    f"{model}: standard deviation of accuracy, {SHOWN[name]} : scaled methods",
                    (_spread(model, name),),
                    tuple(_spread(model, scaled) for scaled in SCALED),
                    math.log(1.5),
                )
                for name in ("random_normal", "random_uniform")
            ),
            if_refuted=f"In the {model} network plain random weights vary less than 1.5 times as "
            "much.",
        )
        for model in ("shallow", "deep")
    ),
)


def _take_combined(normalization: str, optimizer: str, initializer: str) -> Arm:
    return StudyArm(
        "combined",
        {"normalization": normalization, "optimizer": optimizer, "initializer": initializer},
    )


_OPTIMIZERS = ("SGD", "momentum", "Adam")

RANDOM_BATCHNORM = Claim(
    name="random-batchnorm",
    statement="Plain random initialization needs help such as batch normalization in deep "
    "networks.",
    supported_if="in eight relu layers, at tuned rates, N(0, 0.05²) is behind He by 0.05 of "
    "accuracy or more without normalization, and gains as much from batch normalization, with SGD, "
    "momentum and Adam",
    refuted_if="one of these is shown to be smaller",
    smallest_effect=COLLAPSE_REASON,
    studies=("combined",),
    seen_before=("combined",),
    parts=(
        Part(
            "Alone it falls behind",
            tuple(
                subtract(
                    f"{optimizer}, no normalization: He − random normal",
                    _take_combined("none", optimizer, HE),
                    _take_combined("none", optimizer, RANDOM),
                    COLLAPSE,
                )
                for optimizer in _OPTIMIZERS
            ),
            if_refuted="It does not fall behind.",
        ),
        Part(
            "Batch normalization helps it",
            tuple(
                subtract(
                    f"{optimizer}, random normal: batch normalization − none",
                    _take_combined("batch", optimizer, RANDOM),
                    _take_combined("none", optimizer, RANDOM),
                    COLLAPSE,
                )
                for optimizer in _OPTIMIZERS
            ),
            if_refuted="Batch normalization does not help it.",
        ),
    ),
)

CLAIMS = (RANDOM_SCALE, RANDOM_FLUCTUATES, RANDOM_BATCHNORM)
