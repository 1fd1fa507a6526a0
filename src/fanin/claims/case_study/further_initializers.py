"""Claims about LeCun's, orthogonal and sparse weights, and about the distribution."""

from __future__ import annotations

from fanin.claims.arms import Arm, ObservedArm, StudyArm
from fanin.claims.case_study.claim_conditions import (
    ACCURACY,
    ACCURACY_REASON,
    COLLAPSE,
    COLLAPSE_REASON,
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
    keep_variance,
    take_best_rate,
)
from fanin.claims.case_study.xavier_claims import at_depth
from fanin.claims.claim import Claim, Part
from fanin.claims.contrast import MeanContrast, average, interact, subtract
from fanin.claims.run_values import Metric


def _deep_lecun(activation: str, normalization: str) -> Arm:
    return StudyArm("claim-lecun", {"activation": activation, "normalization": normalization})


LECUN_SHALLOW = Claim(
    name="lecun-shallow",
    statement="LeCun is good in shallow sigmoid and tanh networks and may need batch normalization "
    "in deep ones.",
    supported_if="in networks of 2 tanh or sigmoid layers LeCun is at most 0.02 of accuracy behind "
    "each other initializer of the case study, each at its best rate; and in 16 layers batch "
    "normalization brings it 0.05 or more with tanh or with sigmoid",
    refuted_if="LeCun is shown to be 0.02 or more behind one of them; or batch normalization is "
    "shown to bring less with tanh and with sigmoid",
    smallest_effect=f"{ACCURACY_REASON}. {COLLAPSE_REASON}",
    studies=("claim-start", "claim-lecun"),
    parts=(
        Part(
            "Good in shallow networks",
            tuple(
                subtract(
                    f"{setting}: LeCun − {SHOWN[other]}",
                    take_best_rate(setting, LECUN),
                    take_best_rate(setting, other),
                    ACCURACY,
                    "no worse",
                )
                for setting in ("tanh, 2 layers", "sigmoid, 2 layers")
                for other in (RANDOM, XAVIER, HE, ORTHOGONAL)
            ),
            if_refuted="Another initializer is better there.",
        ),
        Part(
            "May need batch normalization in deep ones",
            tuple(
                subtract(
                    f"{activation}, 16 layers, LeCun: batch normalization − none",
                    _deep_lecun(activation, "batch"),
                    _deep_lecun(activation, "none"),
                    COLLAPSE,
                )
                for activation in ("tanh", "sigmoid")
            ),
            "any",
            if_refuted="It does as well without batch normalization.",
        ),
    ),
)


def _recurrent(model: str, initializer: str, **where: str) -> Arm:
    return StudyArm("recurrent", {"model": model, "initializer": initializer, **where})


_CELLS = {
    "RNN, tanh": ("rnn", {"activation": "tanh"}),
    "RNN, relu": ("rnn", {"activation": "relu"}),
    "LSTM, zero biases": ("lstm", {"biases": "zero"}),
    "LSTM, forget gate open": ("lstm", {"biases": "forget_gate"}),
}

ORTHOGONAL_DEEP = Claim(
    name="orthogonal-deep",
    statement="Orthogonal preserves the signal in deep networks, and suits RNNs, LSTMs and deep "
    "fully connected networks.",
    supported_if="over ten layers of 256 linear units the variance of activations and gradients "
    "changes by less than a factor of two; in 16 and 40 tanh layers orthogonal is at most 0.02 of "
    "accuracy behind Xavier and He; and in RNNs of tanh and relu units and in LSTMs with closed "
    "and open forget gates it is at most 0.02 behind Xavier, all at tuned rates",
    refuted_if="a variance is shown to change by more; or orthogonal is shown to be 0.02 or more "
    "behind",
    smallest_effect=f"A factor of two over ten layers. {ACCURACY_REASON}",
    studies=("depth", "recurrent"),
    seen_before=("depth", "recurrent"),
    observations=("signal",),
    parts=(
        Part(
            "It preserves the signal in deep linear networks",
            keep_variance("identity", "orthogonal", "orthogonal"),
            if_refuted="The variance changes with depth.",
        ),
        Part(
            "It suits deep fully connected networks",
            tuple(
                subtract(
                    f"tanh, {depth} layers: orthogonal − {SHOWN[other]}",
                    at_depth("tanh", depth, ORTHOGONAL),
                    at_depth("tanh", depth, other),
                    ACCURACY,
                    "no worse",
                )
                for depth in ("16", "40")
                for other in (XAVIER, HE)
            ),
            if_refuted="Another initializer is better there.",
        ),
        Part(
            "It suits RNNs and LSTMs",
            tuple(
                subtract(
                    f"{shown}: orthogonal − Xavier",
                    _recurrent(model, ORTHOGONAL, **where),
                    _recurrent(model, XAVIER, **where),
                    ACCURACY,
                    "no worse",
                )
                for shown, (model, where) in _CELLS.items()
            ),
            if_refuted="Xavier is better in one of them.",
        ),
        Part(
            "Beside it: with an activation the signal is not preserved at gain 1",
            (
                *keep_variance("tanh", "orthogonal", "orthogonal", ("forward",)),
                *keep_variance("relu", "orthogonal", "orthogonal", ("forward",)),
            ),
            counts=False,
        ),
    ),
)

ORTHOGONAL_SLOWER = Claim(
    name="orthogonal-slower",
    statement="Orthogonal converges more slowly.",
    supported_if="orthogonal reaches a validation accuracy of 0.9 at least 2 epochs after the mean "
    "of Xavier, He and LeCun, each at its own fastest rate, in 2 and in 10 layers of tanh and of "
    "relu units",
    refuted_if="one of the delays is shown to be smaller",
    smallest_effect=EPOCHS_REASON,
    studies=("claim-start",),
    parts=(
        Part(
            "Epochs to a validation accuracy of 0.9",
            tuple(
                MeanContrast(
                    f"{setting}: orthogonal − mean of Xavier, He, LeCun",
                    (
                        (1.0, take_best_rate(setting, ORTHOGONAL, EPOCHS_TO_TARGET)),
                        *average(
                            (take_best_rate(setting, name, EPOCHS_TO_TARGET) for name in SCALED),
                            -1.0,
                        ),
                    ),
                    EPOCHS,
                    unit="epochs",
                )
                for setting in (
                    "tanh, 2 layers",
                    "tanh, 10 layers",
                    "relu, 2 layers",
                    "relu, 10 layers",
                )
            ),
            if_refuted="Orthogonal is not slower everywhere.",
        ),
    ),
)

_AUTOENCODER_LOSS = 0.5


def _autoencoder(initializer: str, optimizer: str = "momentum", activation: str = "sigmoid") -> Arm:
    return StudyArm(
        "autoencoder",
        {"activation": activation, "optimizer": optimizer, "initializer": initializer},
        Metric("test_squared_error"),
    )


def _lead_sparse(optimizer: str, activation: str, other: str) -> MeanContrast:
    return subtract(
        f"{activation}, {optimizer}: error of {SHOWN[other]} − sparse",
        _autoencoder(other, optimizer, activation),
        _autoencoder("sparse", optimizer, activation),
        _AUTOENCODER_LOSS,
        unit="error",
    )


_AUTOENCODER_RIVALS = ("torch_default", XAVIER, ORTHOGONAL, "auto")

SPARSE_NICHE = Claim(
    name="sparse-niche",
    statement="Sparse initialization is useful where structured sparsity is wanted.",
    supported_if="at least half of the weights that start at zero are zero after 20 epochs, with "
    "momentum and with Adam; and in Martens' autoencoder of sigmoid units, trained with momentum, "
    "the squared error is lower by 0.5 or more than from torch's default, Xavier, orthogonal and "
    "auto",
    refuted_if="fewer than half are shown to stay zero; or one of the leads is shown to be smaller",
    smallest_effect="Half of the zeros, less is not a sparse network. A squared error of 0.5, a "
    "tenth of what a network has that has learnt the mean image only (4.69)",
    studies=("autoencoder",),
    seen_before=("autoencoder",),
    observations=("sparsity",),
    parts=(
        Part(
            "The sparsity persists under training",
            tuple(
                MeanContrast(
                    f"{optimizer}: share of zeros that stay zero",
                    ((1.0, ObservedArm("sparsity", {"optimizer": optimizer}, "kept")),),
                    0.5,
                    unit="share",
                )
                for optimizer in ("momentum", "Adam")
            ),
            if_refuted="The zeros fill up: who wants a sparse network has to prune or mask it.",
        ),
        Part(
            "It helps Martens' autoencoder",
            tuple(_lead_sparse("momentum", "sigmoid", other) for other in _AUTOENCODER_RIVALS),
            if_refuted="Another start does as well.",
        ),
        Part(
            "Beside it: with Adam, and with tanh units",
            (
                *(_lead_sparse("Adam", "sigmoid", other) for other in _AUTOENCODER_RIVALS),
                _lead_sparse("momentum", "tanh", XAVIER),
            ),
            counts=False,
        ),
    ),
)

_DISTRIBUTION_ACCURACY = 0.01


def _draw(activation: str, depth: str, distribution: str) -> Arm:
    return StudyArm(
        "claim-distribution",
        {"activation": activation, "model.depth": depth, "initializer": distribution},
    )


def _pair(activation: str, depth: str) -> tuple[Arm, Arm]:
    return _draw(activation, depth, "uniform"), _draw(activation, depth, "normal")


UNIFORM_NORMAL = Claim(
    name="uniform-normal",
    statement="Uniform or normal makes a difference that depends on depth and activation.",
    supported_if="at one rate for both, weights of the same variance from the two distributions "
    "differ by 0.01 of accuracy or more in 2 or 10 layers of tanh (Xavier) or relu units (He), and "
    "the difference changes by as much with depth or with the activation",
    refuted_if="all differences are shown to be smaller, or all changes",
    smallest_effect="0.01 of accuracy on digits, 3 or 4 of its 359 test images: half of what "
    "replicates of one condition differ by, as 40 pairs can tell it",
    studies=("claim-distribution",),
    parts=(
        Part(
            "There is a difference",
            tuple(
                subtract(
                    f"{activation}, {depth} layers: uniform − normal",
                    *_pair(activation, depth),
                    _DISTRIBUTION_ACCURACY,
                    "differs",
                )
                for activation in ("tanh", "relu")
                for depth in ("2", "10")
            ),
            "any",
            if_refuted="The distribution makes no difference that matters; the variance does.",
        ),
        Part(
            "It depends on depth or activation",
            (
                interact(
                    "tanh: (uniform − normal) in 10 layers − in 2",
                    _pair("tanh", "10"),
                    _pair("tanh", "2"),
                    _DISTRIBUTION_ACCURACY,
                ),
                interact(
                    "relu: (uniform − normal) in 10 layers − in 2",
                    _pair("relu", "10"),
                    _pair("relu", "2"),
                    _DISTRIBUTION_ACCURACY,
                ),
                interact(
                    "10 layers: (uniform − normal) with relu − with tanh",
                    _pair("relu", "10"),
                    _pair("tanh", "10"),
                    _DISTRIBUTION_ACCURACY,
                ),
            ),
            "any",
            if_refuted="Nor does it with depth or activation.",
        ),
    ),
)

CLAIMS = (LECUN_SHALLOW, ORTHOGONAL_DEEP, ORTHOGONAL_SLOWER, SPARSE_NICHE, UNIFORM_NORMAL)
