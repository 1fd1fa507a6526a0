"""Claims about Xavier's initialization."""

from __future__ import annotations

from fanin.claims.arms import Arm, StudyArm
from fanin.claims.case_study.claim_conditions import (
    ACCURACY,
    ACCURACY_REASON,
    COLLAPSE,
    COLLAPSE_REASON,
    HE,
    LECUN,
    ORTHOGONAL,
    RANDOM,
    SHOWN,
    XAVIER,
    keep_variance,
    take_best_rate,
)
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import subtract

XAVIER_SIGMOID_TANH = Claim(
    name="xavier-sigmoid-tanh",
    statement="Xavier keeps activation and gradient variance constant with sigmoid and tanh, and "
    "is the best choice there.",
    supported_if="over ten layers of 256 units the variance of activations and of gradients "
    "changes by less than a factor of two, with sigmoid and with tanh; and Xavier is ahead of each "
    "other initializer of the case study by 0.02 of accuracy or more in networks of 2 and 10 tanh "
    "and 2 sigmoid layers, each at its best rate",
    refuted_if="one of the variances is shown to change by more; or one of the leads is shown to "
    "be smaller: then Xavier is at most as good a choice as that one",
    smallest_effect=f"A factor of two over ten layers, 1.07 per layer. {ACCURACY_REASON}",
    studies=("claim-start",),
    observations=("signal",),
    parts=(
        Part(
            "The variance stays constant with tanh",
            keep_variance("tanh", "xavier", "Xavier"),
            if_refuted="With tanh Xavier does not keep it: at unit gain small signals alone keep "
            "their size.",
        ),
        Part(
            "The variance stays constant with sigmoid",
            keep_variance("sigmoid", "xavier", "Xavier"),
            if_refuted="With sigmoid Xavier does not keep it: a slope of at most 1/4 shrinks "
            "gradients in every layer.",
        ),
        Part(
            "The best choice there",
            tuple(
                subtract(
                    f"{setting}: Xavier − {SHOWN[other]}",
                    take_best_rate(setting, XAVIER),
                    take_best_rate(setting, other),
                    ACCURACY,
                )
                for setting in ("tanh, 2 layers", "tanh, 10 layers", "sigmoid, 2 layers")
                for other in (RANDOM, HE, LECUN, ORTHOGONAL)
            ),
            if_refuted="Another initializer does as well there, or better.",
        ),
    ),
)


def at_depth(activation: str, depth: str, initializer: str) -> Arm:
    """An initializer in the study of depths, at its tuned rate."""
    return StudyArm(
        "depth", {"activation": activation, "model.depth": depth, "initializer": initializer}
    )


XAVIER_DEEP_RELU = Claim(
    name="xavier-deep-relu",
    statement="Xavier struggles in deep ReLU networks.",
    supported_if="He is ahead of Xavier by 0.05 of accuracy or more in 16 and in 40 relu layers, "
    "each at its tuned rate",
    refuted_if="one of the leads is shown to be smaller",
    smallest_effect=COLLAPSE_REASON,
    studies=("depth",),
    seen_before=("depth",),
    parts=(
        Part(
            "Deep",
            tuple(
                subtract(
                    f"relu, {depth} layers: He − Xavier",
                    at_depth("relu", depth, HE),
                    at_depth("relu", depth, XAVIER),
                    COLLAPSE,
                )
                for depth in ("16", "40")
            ),
            if_refuted="Xavier keeps up with He.",
        ),
        Part(
            "Beside it: 2 and 6 layers",
            tuple(
                subtract(
                    f"relu, {depth} layers: He − Xavier",
                    at_depth("relu", depth, HE),
                    at_depth("relu", depth, XAVIER),
                    COLLAPSE,
                )
                for depth in ("2", "6")
            ),
            counts=False,
        ),
    ),
)

CLAIMS = (XAVIER_SIGMOID_TANH, XAVIER_DEEP_RELU)
