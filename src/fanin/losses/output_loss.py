"""The loss of an output: the caller's, the model's own, one that the target implies, or none."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin import seeds
from fanin.errors import FitError, UsageError, quote
from fanin.losses.model_outputs import find_model_loss, find_prediction

IGNORED = -100
"""The label that torch's and transformers' losses leave out."""

LossFunction = Callable[..., Tensor]

LossKind = Literal["cross_entropy", "mse", "model", "given", "cotangent"]
"""Where the loss comes from: an integer target, a float target, the output's ``.loss``, the
caller's function, or a random cotangent since there was no target."""


@dataclass(frozen=True)
class OutputLoss:
    """The scalar that gradients start from."""

    kind: LossKind
    name: str
    value: Tensor
    """With the graph of the pass."""
    prediction: Tensor | None
    """What the loss took; None if the caller's function took an output without such a tensor."""
    classes: int | None = None
    warning: str = ""
    """What torch warned of when it computed the loss, such as shapes that are broadcast."""


def compute_loss(result: Any, target: Any, loss: LossFunction | None) -> OutputLoss:
    """The loss of what a model returned.

    With `loss`, that; else the output's own ``.loss``; else cross-entropy for a target of whole
    numbers and the mean squared error for one of real numbers; without a target, a random
    cotangent: the sum of the output times standard-normal numbers, over √n of its size.

    Raises `FitError` if the loss fails on the output, or is no scalar.
    """
    if loss is not None:
        return _compute_given(result, target, loss)
    if target is None:
        own = find_model_loss(result)
        if own is not None:
            return OutputLoss("model", "the model's own loss", own, find_prediction(result))
        return _draw_cotangent(find_prediction(result))
    return _compute_implied(find_prediction(result), target)


def _compute_given(result: Any, target: Any, loss: LossFunction) -> OutputLoss:
    name = getattr(loss, "__name__", None) or type(loss).__name__
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = loss(result) if target is None else loss(result, target)
    except Exception as error:
        raise FitError(
            f"The loss {name} failed on the output: {type(error).__name__}: "
            f"{quote(str(error), 300)}. Expected a function of "
            f"{'the output' if target is None else '(output, target)'} that returns one number."
        ) from error
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise UsageError(
            f"The loss {name} returned {quote(value)}. Expected a tensor of one real number."
        )
    if value.numel() != 1:
        value = value.mean()
    text = next((str(one.message) for one in caught if "broadcast" in str(one.message)), "")
    try:
        prediction: Tensor | None = find_prediction(result)
    except FitError:
        prediction = None
    return OutputLoss("given", name, value.reshape(()), prediction, warning=text)


def _compute_implied(prediction: Tensor, target: Any) -> OutputLoss:
    if not isinstance(target, Tensor):
        raise UsageError(
            f"target is a tensor, not {quote(target)}. Give loss= for targets of another kind."
        )
    if target.is_floating_point() or target.is_complex():
        value = F.mse_loss(prediction.to(target.dtype), fit_target(target, prediction))
        return OutputLoss("mse", "mean squared error", value, prediction)
    if target.dtype == torch.bool or _is_one_logit(prediction, target):
        aligned = fit_target(target.to(prediction.dtype), prediction)
        value = F.binary_cross_entropy_with_logits(prediction, aligned)
        return OutputLoss("cross_entropy", "binary cross-entropy", value, prediction, 2)
    axis = find_class_axis(prediction, target)
    scores = prediction.movedim(axis, -1)
    classes = scores.shape[-1]
    labels = target.long()
    _check_labels(labels, classes)
    value = F.cross_entropy(
        scores.reshape(-1, classes).float(), labels.reshape(-1), ignore_index=IGNORED
    )
    return OutputLoss("cross_entropy", "cross-entropy", value, prediction, classes)


def _check_labels(labels: Tensor, classes: int) -> None:
    kept = labels[labels != IGNORED]
    if kept.numel() and (int(kept.min()) < 0 or int(kept.max()) >= classes):
        raise FitError(
            f"The output has {classes} classes, and the target has labels from {int(kept.min())} "
            f"to {int(kept.max())}. Expected labels from 0 to {classes - 1}."
        )


def find_class_axis(prediction: Tensor, target: Tensor) -> int:
    """The axis of the prediction that counts classes: the last, or torch's second.

    Raises `FitError` if the target fits neither.
    """
    shape, wanted = tuple(prediction.shape), tuple(target.shape)
    axes = [axis for axis in (1, len(shape) - 1) if shape[:axis] + shape[axis + 1 :] == wanted]
    if not axes:
        raise FitError(
            f"A target of whole numbers of shape {wanted} does not fit an output of shape "
            f"{shape}. Expected the output's shape without its axis of classes, such as "
            f"{shape[:-1]}, or give loss=."
        )
    return axes[-1] if len(shape) == 3 else axes[0]


def fit_target(target: Tensor, prediction: Tensor) -> Tensor:
    """The target in the prediction's shape, if they differ by axes of size 1 only.

    Raises `FitError` otherwise.
    """
    if target.shape == prediction.shape:
        return target
    squeezed = [size for size in target.shape if size != 1]
    if squeezed == [size for size in prediction.shape if size != 1]:
        return target.reshape(prediction.shape)
    raise FitError(
        f"A target of shape {tuple(target.shape)} does not fit an output of shape "
        f"{tuple(prediction.shape)}. Expected the same shape, or give loss=."
    )


def _is_one_logit(prediction: Tensor, target: Tensor) -> bool:
    """Whether each label has one number to itself, and labels are 0 and 1."""
    same = prediction.numel() == target.numel()
    return same and bool(((target == 0) | (target == 1)).all())


def _draw_cotangent(prediction: Tensor) -> OutputLoss:
    generator = seeds.make_generator(0, "cotangent")
    values = prediction if not prediction.is_complex() else torch.view_as_real(prediction)
    drawn = seeds.standard_normal(tuple(values.shape), generator).to(values.device)
    value = (values.float() * drawn).sum() / math.sqrt(max(values.numel(), 1))
    return OutputLoss("cotangent", "a random cotangent", value, prediction)
