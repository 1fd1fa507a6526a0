"""Claims about zero weights."""

from __future__ import annotations

import math

from fanin.claims.arms import ObservedArm, StudyArm
from fanin.claims.case_study.claim_conditions import ACCURACY
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import MeanContrast, subtract
from fanin.claims.run_values import IsLost, LossIncreases, Metric
from fanin.claims.share_contrast import ExactFact, ShareContrast
from fanin.claims.spread_contrasts import SpreadContrast

_NETWORKS = {
    "case study": "the case study's MLP",
    "relu": "3 relu layers",
    "tanh": "3 tanh layers",
}
_SIGMOID = "3 sigmoid layers"


def _observe(network: str, start: str, key: str) -> ObservedArm:
    return ObservedArm("symmetry", {"network": network, "start": start}, key)


def _spread(initializer: str) -> StudyArm:
    where = {"model": "shallow", "initializer": initializer}
    return StudyArm("claim-spread", where, Metric("val_loss"))


ZERO_SYMMETRY = Claim(
    name="zero-symmetry",
    statement="Zero weights make all units of a layer identical for ever; nothing but the output "
    "bias learns; accuracy stays at chance.",
    supported_if="after ten epochs, in all of ten networks of each kind, all units of every hidden "
    "layer have equal weights, no parameter but the output bias has changed by a single bit, and "
    "test accuracy lies within 0.02 of the share of the most frequent class. The networks are the "
    "case study's MLP, and three hidden layers of relu or tanh units",
    refuted_if="one unit differs, one other parameter changes, or the accuracy is shown to be 0.02 "
    "or more away",
    smallest_effect="None for the exact facts, of which one counterexample is enough. 0.02 of "
    "accuracy: 7 of 359 test images",
    caveat="that symmetry is the reason. Signals and gradients are exactly zero here; constant "
    "weights keep units equal, too, and learn (beside it)",
    observations=("symmetry",),
    parts=(
        Part(
            "All units of a hidden layer stay identical",
            tuple(
                ExactFact(f"identical units: {shown}", _observe(network, "zero", "identical"))
                for network, shown in _NETWORKS.items()
            ),
            if_refuted="Units come apart.",
        ),
        Part(
            "Nothing but the output bias learns",
            tuple(
                ExactFact(
                    f"only the output bias changed: {shown}",
                    _observe(network, "zero", "only_output_bias"),
                )
                for network, shown in _NETWORKS.items()
            ),
            if_refuted="Other parameters learn, too.",
        ),
        Part(
            "Accuracy stays at chance",
            tuple(
                MeanContrast(
                    f"accuracy minus the most frequent class: {shown}",
                    ((1.0, _observe(network, "zero", "excess")),),
                    ACCURACY,
                    "same",
                )
                for network, shown in _NETWORKS.items()
            ),
            if_refuted="Accuracy leaves chance.",
        ),
        Part(
            "Beside it: sigmoid units, whose output at zero is one half",
            (
                ExactFact(
                    f"only the output bias changed: {_SIGMOID}",
                    _observe("sigmoid", "zero", "only_output_bias"),
                ),
                ExactFact(f"identical units: {_SIGMOID}", _observe("sigmoid", "zero", "identical")),
            ),
            if_refuted="With sigmoid units other parameters learn, too.",
            counts=False,
        ),
        Part(
            "Beside it: constant weights of 0.05, symmetric but not zero, do learn",
            (
                *(
                    ExactFact(
                        f"identical units from constant weights: {shown}",
                        _observe(network, "constant", "identical"),
                    )
                    for network, shown in _NETWORKS.items()
                ),
                *(
                    MeanContrast(
                        f"constant weights, accuracy minus the most frequent class: {shown}",
                        ((1.0, _observe(network, "constant", "excess")),),
                        ACCURACY,
                    )
                    for network, shown in list(_NETWORKS.items())[1:]
                ),
            ),
            counts=False,
        ),
    ),
)

ZERO_UNSTABLE = Claim(
    name="zero-unstable",
    statement='Training from zero weights is "highly unstable".',
    supported_if="one of three signs of instability is shown: 0.1 or more of the trainings "
    "diverge; the best validation loss varies from model to model at least 1.5 times as much as "
    "from He's weights; the validation loss rises on average by at least 0.01 more per epoch than "
    "from He's weights",
    refuted_if="all three are shown to be smaller than that",
    smallest_effect="0.1 of the trainings, one in ten; a factor of 1.5 between standard "
    "deviations, which 40 replicates can tell from none; 0.01 per epoch, against a loss of 2.3 at "
    "chance",
    amendment="At first the share of diverged trainings was read from the shallow network only, "
    "whose 40 trainings cannot show a share below 0.1. Before the study ran, the deep one was "
    "added",
    studies=("claim-spread",),
    mode="any",
    parts=(
        Part(
            "Trainings diverge",
            (
                ShareContrast(
                    "share of trainings from zero that diverged",
                    tuple(
                        StudyArm("claim-spread", {"model": model, "initializer": "zero"}, IsLost())
                        for model in ("shallow", "deep")
                    ),
                    0.1,
                ),
            ),
            if_refuted="Fewer than one training in ten diverges.",
        ),
        Part(
            "Models differ from one another",
            (
                SpreadContrast(
                    "standard deviation of the best validation loss, zero : He",
                    (_spread("zero"),),
                    (_spread("he_normal"),),
                    math.log(1.5),
                ),
            ),
            if_refuted="Models from zero differ less from one another, or hardly more.",
        ),
        Part(
            "The loss rises and falls during training",
            (
                subtract(
                    "rise of the validation loss per epoch, zero − He",
                    StudyArm(
                        "claim-spread",
                        {"model": "shallow", "initializer": "zero"},
                        LossIncreases(),
                    ),
                    StudyArm(
                        "claim-spread",
                        {"model": "shallow", "initializer": "he_normal"},
                        LossIncreases(),
                    ),
                    0.01,
                    unit="loss",
                ),
            ),
            if_refuted="The loss rises no more than from He's weights, by any amount that matters.",
        ),
    ),
)

CLAIMS = (ZERO_SYMMETRY, ZERO_UNSTABLE)
