"""Claims about initializers together with normalization, optimizer and learning rate."""

from __future__ import annotations

from fanin.claims.arms import Arm, BestRateArm, StudyArm
from fanin.claims.case_study.claim_conditions import (
    ACCURACY,
    ACCURACY_REASON,
    HE,
    LECUN,
    ORTHOGONAL,
    SHOWN,
    TWICE,
    XAVIER,
    take_best_rate,
    take_rate,
)
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import interact, subtract
from fanin.claims.spread_contrasts import InitializerSpreadContrast

_USUAL = ("torch_default", XAVIER, HE, ORTHOGONAL)
_OTHERS = (XAVIER, LECUN, ORTHOGONAL)


def _take_normalized(normalization: str, initializer: str) -> Arm:
    return StudyArm("normalization", {"normalization": normalization, "initializer": initializer})


def _reduce(kind: str, initializers: tuple[str, ...], shown: str) -> InitializerSpreadContrast:
    return InitializerSpreadContrast(
        f"{shown}: standard deviation between initializers, none : {kind}",
        tuple(_take_normalized("none", name) for name in initializers),
        tuple(_take_normalized(kind, name) for name in initializers),
        TWICE,
    )


NORMALIZATION_EFFECT = Claim(
    name="normalization-effect",
    statement="Batch or layer normalization reduces the difference between initializers.",
    supported_if="in 16 relu layers, at tuned rates, the standard deviation of accuracy between "
    "torch's default, Xavier, He and orthogonal is at least halved by batch and by layer "
    "normalization, that is the variance divided by four",
    refuted_if="one of the two is shown to reduce it by less",
    smallest_effect="A factor of two in the standard deviation between initializers: less would "
    "leave the choice about as important",
    caveat="how much of the difference without normalization is that torch's default does not "
    "train at all at this depth",
    studies=("normalization",),
    seen_before=("normalization",),
    parts=(
        Part(
            "Among the usual initializers",
            tuple(_reduce(kind, _USUAL, "usual") for kind in ("batch", "layer")),
            if_refuted="The difference stays.",
        ),
        Part(
            "Beside it: with weights that are far too small, N(0, 0.01²)",
            tuple(
                _reduce(kind, (*_USUAL, "too_small"), "usual and too small")
                for kind in ("batch", "layer")
            ),
            counts=False,
        ),
    ),
)


def _take_combined(optimizer: str, initializer: str) -> Arm:
    return StudyArm(
        "combined", {"normalization": "none", "optimizer": optimizer, "initializer": initializer}
    )


def _optimizer(optimizer: str, initializer: str) -> Arm:
    return StudyArm("optimizers", {"optimizer": optimizer, "initializer": initializer})


OPTIMIZER_INTERACTION = Claim(
    name="optimizer-interaction",
    statement="SGD, Adam and RMSProp rank initializers differently.",
    supported_if="in eight relu layers, at tuned rates, the lead of He over Xavier, LeCun or "
    "orthogonal changes by 0.02 of accuracy or more between SGD and Adam or between SGD and "
    "RMSProp. (A ranking of means always changes by chance; a difference of differences with an "
    "interval does not.)",
    refuted_if="all these changes are shown to be smaller",
    smallest_effect=ACCURACY_REASON,
    caveat="whether part of a change is a rate that fits one of the two better: the rates of a "
    "grid differ by a factor of ten. Nor does a changed lead mean a reversed order",
    studies=("combined", "optimizers"),
    seen_before=("combined", "optimizers"),
    parts=(
        Part(
            "The lead of He depends on the optimizer",
            (
                *(
                    interact(
                        f"(He − {SHOWN[other]}) with SGD − with Adam",
                        (_take_combined("SGD", HE), _take_combined("SGD", other)),
                        (_take_combined("Adam", HE), _take_combined("Adam", other)),
                        ACCURACY,
                    )
                    for other in (XAVIER, LECUN, ORTHOGONAL)
                ),
                *(
                    interact(
                        f"(He − {SHOWN[other]}) with SGD − with RMSProp",
                        (_optimizer("SGD", HE), _optimizer("SGD", other)),
                        (_optimizer("RMSProp", HE), _optimizer("RMSProp", other)),
                        ACCURACY,
                    )
                    for other in (XAVIER, ORTHOGONAL)
                ),
            ),
            "any",
            if_refuted="The leads are the same with each optimizer.",
        ),
        Part(
            "Beside it: does the order reverse? With Adam, one of them ahead of He by 0.02",
            tuple(
                subtract(
                    f"Adam: {SHOWN[other]} − He",
                    _take_combined("Adam", other),
                    _take_combined("Adam", HE),
                    ACCURACY,
                )
                for other in (XAVIER, LECUN, ORTHOGONAL)
            ),
            "any",
            counts=False,
        ),
    ),
)


def _eight_layers(initializer: str, rate: str | None) -> Arm:
    where = {"initializer": initializer}
    if rate is None:
        return BestRateArm("learning-rate", where)
    return StudyArm("learning-rate", {**where, "learning_rate": rate})


_TEN = "relu, 10 layers"

LR_INTERACTION = Claim(
    name="lr-interaction",
    statement="Tuning the learning rate per initializer changes the ranking.",
    supported_if="the lead of He over Xavier, LeCun or orthogonal at one fixed rate differs by "
    "0.02 of accuracy or more from its lead when each has its best rate, in eight relu layers "
    "(fixed rate 0.001) or in ten (0.003). The best rate is chosen on the other replicates",
    refuted_if="all these changes are shown to be smaller",
    smallest_effect=ACCURACY_REASON,
    studies=("learning-rate", "claim-start"),
    seen_before=("learning-rate",),
    parts=(
        Part(
            "The lead of He depends on whether rates are tuned",
            (
                *(
                    interact(
                        f"8 layers: (He − {SHOWN[other]}) at rate 0.001 − at best rates",
                        (_eight_layers(HE, "0.001"), _eight_layers(other, "0.001")),
                        (_eight_layers(HE, None), _eight_layers(other, None)),
                        ACCURACY,
                    )
                    for other in _OTHERS
                ),
                *(
                    interact(
                        f"10 layers: (He − {SHOWN[other]}) at rate 0.003 − at best rates",
                        (take_rate(_TEN, HE, "0.003"), take_rate(_TEN, other, "0.003")),
                        (take_best_rate(_TEN, HE), take_best_rate(_TEN, other)),
                        ACCURACY,
                    )
                    for other in _OTHERS
                ),
            ),
            "any",
            if_refuted="Tuning changes all of them alike.",
        ),
        Part(
            "Beside it: does the order reverse? At best rates, one of them ahead of He by 0.02",
            tuple(
                subtract(
                    f"8 layers, best rates: {SHOWN[other]} − He",
                    _eight_layers(other, None),
                    _eight_layers(HE, None),
                    ACCURACY,
                )
                for other in _OTHERS
            ),
            "any",
            counts=False,
        ),
    ),
)


def _take_scheduled(schedule: str, initializer: str) -> Arm:
    return BestRateArm("claim-schedule", {"schedule": schedule, "initializer": initializer})


LR_SCHEDULE = Claim(
    name="lr-schedule",
    statement="Adjusting the learning rate dynamically improves what an initialization reaches.",
    supported_if="in eight relu layers, a cosine schedule reaches 0.01 of test accuracy or more "
    "beyond a constant rate, from He's and from Xavier's weights, each at its best rate, over 20 "
    "epochs without early stopping",
    refuted_if="one of the gains is shown to be smaller",
    smallest_effect="0.01 of accuracy on digits, 3 or 4 of its 359 test images: half of what "
    "replicates of one condition differ by, as 20 pairs can tell it",
    caveat="other schedules, longer trainings and larger data. The weights of the best epoch are "
    "restored, as in the case study, which does part of what a falling rate is for",
    studies=("claim-schedule",),
    parts=(
        Part(
            "A schedule helps",
            tuple(
                subtract(
                    f"{shown}: cosine − constant",
                    _take_scheduled("cosine", name),
                    _take_scheduled("constant", name),
                    0.01,
                )
                for name, shown in ((HE, "He"), (XAVIER, "Xavier"))
            ),
            if_refuted="A constant rate, well chosen, reaches as much.",
        ),
    ),
)

CLAIMS = (NORMALIZATION_EFFECT, OPTIMIZER_INTERACTION, LR_INTERACTION, LR_SCHEDULE)
