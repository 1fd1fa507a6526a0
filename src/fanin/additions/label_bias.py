"""logit_bias: the bias of a head from the shares of its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fanin.errors import FitError, UnknownName, UsageError, quote

Outputs = Literal["softmax", "sigmoid"]
"""What the loss does with the logits: classes that exclude one another, or one yes/no each."""

Numbers = Tensor | Sequence[float] | float


def logit_bias(
    labels: Tensor | Sequence[int] | None = None,
    *,
    outputs: Outputs = "softmax",
    classes: int | None = None,
    prior: Numbers | None = None,
    smoothing: float = 0.5,
    ignore_index: int | None = -100,
    weight: Numbers | None = None,
    pos_weight: Numbers | None = None,
    layer: nn.Module | None = None,
) -> Tensor:
    """The bias that makes a model predict the labels' shares before it is trained.

    | outputs | bias of class c | n is |
    |---|---|---|
    | softmax | log(w_c·(n_c + s)) − log Σ_k w_k·(n_k + s) | the count of each class |
    | sigmoid | log(v_c·(n_c + s)/(m_c − n_c + s)) | the count of ones of m_c labels |

    It is the constant output with the least loss, so that the first epochs are not spent on it. The
    weights of the head should start at 0 or small: what they add to the bias is noise.

    Args:
        labels: for softmax class numbers of any shape, or shares of the classes (N, C, …) as
            floats; for sigmoid zeros and ones, or shares, (N,) for one output or (N, C, …).
        outputs: "softmax" for `nn.CrossEntropyLoss`, "sigmoid" for `nn.BCEWithLogitsLoss`.
        classes: the number of outputs C; default: that of `layer`, or what the labels show.
        prior: shares in place of labels: of each class, or one number for all outputs of sigmoid,
            such as 0.01 for a detector (Lin et al. 2017, https://arxiv.org/abs/1708.02002).
        smoothing: s, added to each count, so that a class without a label has a finite bias.
        ignore_index: labels that do not count, as in torch's losses; None if there are none.
        weight: w, the class weights of the loss (softmax).
        pos_weight: v, the weight of ones in the loss (sigmoid).
        layer: the head (linear or convolution) whose bias is overwritten with the result.

    Returns:
        The bias, shape (C,), fp32 on the CPU.

    Raises:
        UsageError: neither labels nor prior, or an option that does not belong to `outputs`.
        FitError: labels that are no labels, a class without a label if s is 0, or a layer whose
            bias does not fit. The layer is unchanged then.

    >>> logit_bias(torch.tensor([0, 0, 0, 1]), smoothing=0).exp()
    tensor([0.7500, 0.2500])
    >>> head = nn.Linear(16, 80)
    >>> bias = logit_bias(prior=0.01, outputs="sigmoid", layer=head)
    >>> round(head.bias[0].item(), 3)
    -4.595

    Not in torch. Keras' guide on imbalanced data computes it by hand, without smoothing.
    """
    _check_options(outputs, labels, prior, weight, pos_weight, smoothing)
    bias = None if layer is None else _get_bias(layer)
    if bias is not None and classes is None:
        classes = bias.numel()
    if prior is not None:
        wanted, rest = _read_prior(prior, outputs, classes)
    elif outputs == "softmax":
        wanted, rest = _count_classes(labels, classes, ignore_index), None
    else:
        wanted, rest = _count_ones(labels, classes, ignore_index)
    added = 0.0 if prior is not None else float(smoothing)
    logits = _compute_logits(wanted + added, None if rest is None else rest + added)
    if (factors := weight if outputs == "softmax" else pos_weight) is not None:
        logits = logits + _read_factors(factors, len(logits)).log()
    if outputs == "softmax":
        logits = logits.log_softmax(0)
    if bias is not None:
        _write(bias, logits)
    return logits.float()


def _check_options(
    outputs: object, labels: object, prior: object, weight: object, pos_weight: object, s: object
) -> None:
    if outputs not in get_args(Outputs):
        raise UnknownName.suggest("kind of outputs", outputs, get_args(Outputs))
    if (labels is None) == (prior is None):
        given = "neither" if labels is None else "both"
        raise UsageError(f"logit_bias takes labels or prior=…; {given} were given.")
    other = {"softmax": ("pos_weight", pos_weight), "sigmoid": ("weight", weight)}[str(outputs)]
    if other[1] is not None:
        right = "weight" if other[0] == "pos_weight" else "pos_weight"
        raise UsageError(f"{other[0]} does not belong to outputs={outputs!r}, but {right} does.")
    if isinstance(s, bool) or not isinstance(s, int | float) or not 0 <= s < math.inf:
        raise UsageError(f"smoothing must be a number of at least 0, not {quote(s)}.")


def _to_tensor(labels: object) -> Tensor:
    try:
        tensor = torch.as_tensor(labels).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise FitError(f"Labels must be a tensor or numbers, not {quote(labels)}.") from None
    if tensor.is_complex() or not tensor.numel():
        what = "complex numbers" if tensor.is_complex() else "an empty tensor"
        raise FitError(f"Labels must be class numbers or shares, not {what}.")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise FitError("Labels hold NaN or infinity. Remove these samples.")
    return tensor


def _count_classes(labels: object, classes: int | None, ignored: int | None) -> Tensor:
    """n of softmax, float64 (C,)."""
    tensor = _to_tensor(labels)
    if tensor.is_floating_point():
        if tensor.dim() < 2:
            raise FitError(
                "Class numbers must be integers; shares of classes have the shape (N, C, …). "
                f"Received floats of shape {tuple(tensor.shape)}. For one yes/no output use "
                "outputs='sigmoid'."
            )
        _check_shares(tensor)
        counts = tensor.double().movedim(1, 0).flatten(1).sum(1)
        _require_classes(len(counts), classes)
        return counts
    numbers = tensor.flatten().long()
    if ignored is not None:
        numbers = numbers[numbers != ignored]
    if not len(numbers):
        raise FitError(f"Every label is ignore_index ({ignored}).")
    low, high = int(numbers.min()), int(numbers.max())
    count = high + 1 if classes is None else classes
    if low < 0 or high >= count:
        raise FitError(
            f"Class numbers must lie between 0 and {count - 1}; received {low} to {high}. Numbers "
            "that do not count are named by ignore_index."
        )
    return torch.bincount(numbers, minlength=count).double()


def _count_ones(labels: object, classes: int | None, ignored: int | None) -> tuple[Tensor, Tensor]:
    """The sums of ones and of zeros, float64 (C,)."""
    tensor = _to_tensor(labels)
    columns = tensor.double().reshape(-1, 1)
    if tensor.dim() >= 2:
        columns = tensor.double().movedim(1, -1).flatten(0, -2)
    _require_classes(columns.shape[1], classes)
    counted = torch.ones_like(columns, dtype=torch.bool)
    if ignored is not None:
        counted = columns != ignored
    _check_shares(columns[counted])
    empty = (~counted.any(0)).nonzero().flatten().tolist()
    if empty:
        raise FitError(f"Every label of output {empty[0]} is ignore_index ({ignored}).")
    ones = torch.where(counted, columns, 0).sum(0)
    return ones, counted.sum(0) - ones


def _check_shares(values: Tensor) -> None:
    if values.numel() and (float(values.min()) < 0 or float(values.max()) > 1):
        raise FitError(
            f"Zeros and ones, or shares between them, were expected; received "
            f"{float(values.min()):g} to {float(values.max()):g}. Class numbers belong to "
            "outputs='softmax'."
        )


def _require_classes(found: int, classes: int | None) -> None:
    if classes is not None and found != classes:
        raise FitError(
            f"The labels have {found} outputs along axis 1, and the head has {classes}. Labels of "
            "several outputs have the shape (N, C, …)."
        )


def _read_prior(
    prior: Numbers, outputs: Outputs, classes: int | None
) -> tuple[Tensor, Tensor | None]:
    """Shares p, and 1 − p for sigmoid."""
    shares = _read_positive(prior, "prior")
    if shares.dim() == 0 and outputs == "sigmoid":
        shares = shares.expand(classes or 1)
    if shares.dim() != 1:
        raise FitError(
            "prior must be one share per class, or for outputs='sigmoid' one number for all; "
            f"received the shape {tuple(shares.shape)}."
        )
    _require_classes(len(shares), classes)
    if outputs == "sigmoid":
        if float(shares.max()) >= 1:
            raise FitError(f"prior must be below 1; received {float(shares.max()):g}.")
        return shares, 1 - shares
    if abs(float(shares.sum()) - 1) > 1e-3:
        raise FitError(f"The shares in prior must sum to 1, not {float(shares.sum()):g}.")
    return shares, None


def _read_factors(factors: Numbers, count: int) -> Tensor:
    values = _read_positive(factors, "Weights of the loss")
    if values.numel() not in (1, count):
        raise FitError(f"{count} weights, one per output, were expected; got {values.numel()}.")
    return values.flatten()


def _read_positive(values: Numbers, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{what} must be numbers, not {quote(values)}.") from None
    if not bool((tensor.isfinite() & (tensor > 0)).all()) or not tensor.numel():
        raise FitError(f"{what} must be finite and above 0; received {quote(values)}.")
    return tensor


def _compute_logits(wanted: Tensor, rest: Tensor | None) -> Tensor:
    bad = wanted == 0 if rest is None else (wanted == 0) | (rest == 0)
    if bool(bad.any()):
        index = int(bad.nonzero()[0])
        what = f"Class {index} has no label" if rest is None else f"Output {index} has one value"
        raise FitError(f"{what}, so its bias would be infinite. Use a smoothing above 0.")
    return wanted.log() if rest is None else wanted.log() - rest.log()


def _get_bias(layer: object) -> nn.Parameter:
    """The bias of a head, which can be written."""
    bias = getattr(layer, "bias", None)
    if not isinstance(layer, nn.Module):
        raise UsageError(f"layer must be a module such as nn.Linear, not {quote(layer)}.")
    if bias is None:
        raise FitError(
            f"{type(layer).__name__} has no bias to hold the labels' shares. Build it with "
            "bias=True."
        )
    if is_lazy(bias) or not isinstance(bias, nn.Parameter):
        raise FitError(f"The bias of {type(layer).__name__} cannot be written yet.")
    if bias.dim() != 1 or not bias.is_floating_point() or bias.is_meta:
        raise FitError(
            f"A bias of shape (C,) with floats in memory was expected; that of "
            f"{type(layer).__name__} is {tuple(bias.shape)}, {bias.dtype} on {bias.device}."
        )
    return bias


def _write(bias: nn.Parameter, logits: Tensor) -> None:
    if bias.numel() != len(logits):
        raise FitError(
            f"The head has {bias.numel()} outputs, and the labels have {len(logits)} classes."
        )
    with torch.no_grad():
        bias.copy_(logits)
