"""Claims about He's initialization."""

from __future__ import annotations

from fanin.claims.case_study.claim_conditions import (
    COLLAPSE,
    COLLAPSE_REASON,
    EPOCHS,
    EPOCHS_REASON,
    EPOCHS_TO_TARGET,
    HE,
    LECUN,
    ORTHOGONAL,
    RANDOM,
    SHOWN,
    XAVIER,
    keep_variance,
    take_best_rate,
    take_rate,
)
from fanin.claims.case_study.xavier_claims import at_depth
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import MeanContrast, subtract

_SCALED_ORTHOGONAL = "orthogonal, √2"
_RIVALS = ("torch_default", XAVIER, ORTHOGONAL)


def _lead(depth: str, other: str) -> MeanContrast:
    return subtract(
        f"relu, {depth} layers: He − {SHOWN[other]}",
        at_depth("relu", depth, HE),
        at_depth("relu", depth, other),
        COLLAPSE,
    )


HE_RELU = Claim(
    name="he-relu",
    statement="He keeps variance with ReLU and leaky ReLU, trains deep ReLU networks, and is the "
    "best choice there.",
    supported_if="over ten layers of 256 units the variance of activations and of gradients "
    "changes by less than a factor of two with relu and leaky relu; networks of 16 and 40 relu "
    "layers reach an accuracy of 0.5 or more; and He is ahead of each rival by 0.05 or more there: "
    "torch's default, Xavier, orthogonal, and orthogonal with the gain √2 that relu needs",
    refuted_if="one of the variances is shown to change by more, a network is shown to stay below "
    "0.5, or a lead is shown to be smaller: then He is not the best choice, but one of them",
    smallest_effect="A factor of two over ten layers. An accuracy of 0.5, half way between chance "
    f"and what shallow networks reach. {COLLAPSE_REASON}",
    studies=("depth",),
    seen_before=("depth",),
    observations=("signal",),
    parts=(
        Part(
            "The variance is kept",
            (*keep_variance("relu", "he", "He"), *keep_variance("leaky_relu", "he", "He")),
            if_refuted="The variance changes with depth.",
        ),
        Part(
            "Deep ReLU networks train",
            tuple(
                MeanContrast(
                    f"relu, {depth} layers: accuracy from He − 0.5",
                    ((1.0, at_depth("relu", depth, HE)),),
                    0.01,
                    offset=0.5,
                )
                for depth in ("16", "40")
            ),
            if_refuted="They do not train.",
        ),
        Part(
            "A better choice there than torch's default, Xavier and orthogonal",
            tuple(_lead(depth, other) for depth in ("16", "40") for other in _RIVALS),
            if_refuted="Another initializer of the case study does as well there, or better.",
        ),
        Part(
            "A better choice there than orthogonal with the gain √2",
            tuple(_lead(depth, _SCALED_ORTHOGONAL) for depth in ("16", "40")),
            if_refuted="Orthogonal weights with the gain √2, which the case study did not try, do "
            "as well in deep ReLU networks, or better.",
        ),
    ),
)

_OTHERS = (RANDOM, XAVIER, LECUN, ORTHOGONAL)
_DEEP = "relu, 10 layers"

HE_FASTER = Claim(
    name="he-faster",
    statement="He converges faster in deep ReLU networks.",
    supported_if="in ten relu layers, He reaches a validation accuracy of 0.9 at least 2 epochs "
    "before random normal, Xavier, LeCun and orthogonal, at one common rate (0.01) and also at "
    "each one's own fastest rate",
    refuted_if="one of the leads is shown to be smaller",
    smallest_effect=EPOCHS_REASON,
    caveat="orthogonal weights with the gain √2 that relu needs; they have gain 1 here, as in the "
    "case study",
    studies=("claim-start",),
    parts=(
        Part(
            "At one common rate",
            tuple(
                subtract(
                    f"rate 0.01, epochs to 0.9: {SHOWN[other]} − He",
                    take_rate(_DEEP, other, "0.01", EPOCHS_TO_TARGET),
                    take_rate(_DEEP, HE, "0.01", EPOCHS_TO_TARGET),
                    EPOCHS,
                    unit="epochs",
                )
                for other in _OTHERS
            ),
            if_refuted="At a common rate another one is as fast.",
        ),
        Part(
            "At each one's own best rate",
            tuple(
                subtract(
                    f"own rates, epochs to 0.9: {SHOWN[other]} − He",
                    take_best_rate(_DEEP, other, EPOCHS_TO_TARGET),
                    take_best_rate(_DEEP, HE, EPOCHS_TO_TARGET),
                    EPOCHS,
                    unit="epochs",
                )
                for other in _OTHERS
            ),
            if_refuted="With a rate of its own another one is as fast: part of He's speed is that "
            "larger weights act like a larger rate.",
        ),
    ),
)

CLAIMS = (HE_RELU, HE_FASTER)
