"""The loss of a model's output: the caller's, the model's own, or one that the target implies."""

from fanin.losses.model_outputs import find_model_loss, find_prediction
from fanin.losses.output_loss import (
    IGNORED,
    LossFunction,
    LossKind,
    OutputLoss,
    compute_loss,
    find_class_axis,
    fit_target,
)

__all__ = [
    "IGNORED",
    "LossFunction",
    "LossKind",
    "OutputLoss",
    "compute_loss",
    "find_class_axis",
    "find_model_loss",
    "find_prediction",
    "fit_target",
]
