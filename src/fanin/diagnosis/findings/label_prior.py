"""The bias that uneven labels ask for: F038."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.final_activation import find_final_activation
from fanin.diagnosis.measurement import Measurement, ParameterState
from fanin.diagnosis.patch import Patch
from fanin.losses import IGNORED
from fanin.structure import list_bare_names

PRIOR_GAIN = 0.1
"""The share of the loss that a bias of the label prior saves, beside the bias as it is, from which
on it is worth setting.
"""
LABELS_PER_CLASS = 5
"""Fewer labels do not show a prior."""
_UNSEEN = 0.5
"""What is added to the count of every class: one that a batch lacks is rare, not impossible."""


def judge_label_prior(examination: Examination) -> Iterator[Finding]:
    """F038: a last layer whose bias could hold the labels' shares, and does not."""
    measurement = examination.measurement
    if measurement is None or measurement.target is None or measurement.output is None:
        return
    if measurement.loss.value is None or not measurement.loss.finite:
        return
    final = find_final_activation(measurement)
    if final is None or final.label:
        return
    bias = measurement.parameters.get(f"{final.layer}.bias")
    values = None if bias is None else _compute_prior(measurement, bias.shape)
    if bias is None or values is None:
        return
    losses = _compare_losses(examination, bias, values)
    if losses is None or losses[0] - losses[1] < PRIOR_GAIN * losses[0]:
        return
    yield _describe(bias, values, *losses)


def _describe(bias: ParameterState, values: Tensor, before: float, prior: float) -> Finding:
    numbers = tuple(round(float(one), 4) for one in values)
    one_logit = len(numbers) == 1
    return Finding(
        code="F038",
        severity="note",
        where=bias.name,
        summary=(
            f"The labels are uneven: knowing their shares alone lowers the loss from "
            f"{before:.3g} to {prior:.3g}, which a bias can do from the start."
        ),
        remedy=(
            f"Set the last bias to log(p/(1 − p)) = {numbers[0]:.3g}, where p is the share of ones."
            if one_logit
            else "Set the last bias to the logarithm of the classes' shares (of classes that do "
            "not exclude one another, to log(p/(1 − p)))."
        ),
        evidence={"loss of the bias": before, "loss of the prior": prior},
        patches=(Patch(operation="set", parameters=(bias.name,), value=numbers),),
    )


def _compute_prior(measurement: Measurement, shape: tuple[int, ...]) -> Tensor | None:
    """The logits of the labels' shares, one for each unit of the bias; None if labels are none."""
    target, output = measurement.target, measurement.output
    if target is None or output is None:
        return None
    if len(shape) != 1 or not output.numel():
        return None
    if target.is_floating_point() or (shape[0] == 1 and target.numel() == output.numel()):
        return _compute_logits(target, output, shape[0])
    labels = target.reshape(-1)
    labels = labels[labels != IGNORED].long()
    if len(labels) < LABELS_PER_CLASS * shape[0] or shape[0] < 2:
        return None
    if int(labels.min()) < 0 or int(labels.max()) >= shape[0]:
        return None
    counts = torch.bincount(labels, minlength=shape[0]).double() + _UNSEEN
    return (counts / counts.sum()).log()


def _compute_logits(target: Tensor, output: Tensor, units: int) -> Tensor | None:
    """log(p/(1 − p)) of each unit whose targets are 0 or 1."""
    if target.numel() != output.numel() or not bool(((target == 0) | (target == 1)).all()):
        return None
    if output.dim() < 2:
        columns = target.reshape(-1, 1)
    else:
        columns = target.reshape(output.shape).movedim(_find_unit_axis(output), -1)
        columns = columns.reshape(-1, columns.shape[-1])
    if len(columns) < 2 * LABELS_PER_CLASS or columns.shape[1] != units:
        return None
    ones = columns.double().sum(0)
    return ((ones + _UNSEEN) / (len(columns) - ones + _UNSEEN)).log()


def _compare_losses(
    examination: Examination, bias: ParameterState, values: Tensor
) -> tuple[float, float] | None:
    """The losses of the bias as it is and of the prior, each alone; None if the loss does not take
    logits, such as one of probabilities.
    """
    now = next(
        one
        for name, one in examination.model.named_parameters()
        if list_bare_names(examination.model)[name] == bias.name
    )
    found = [_measure_loss(examination, one.detach()) for one in (now, values)]
    if found[0] is None or found[1] is None:
        return None
    return found[0], found[1]


def _measure_loss(examination: Examination, constant: Tensor) -> float | None:
    """The loss if every sample, and place, gets one output for each unit."""
    measurement, loss = examination.measurement, examination.loss_function
    if measurement is None or measurement.output is None:
        return None
    output = measurement.output.float()
    shape = [1] * output.dim()
    if output.dim() >= 2:
        axis = _find_unit_axis(output)
        if output.shape[axis] != len(constant):
            return None
        shape[axis] = len(constant)
    made = constant.to(output).reshape(shape).expand(output.shape).clone()
    try:
        with torch.no_grad():
            value = math.inf if loss is None else float(loss(made, measurement.target).mean())
    except Exception:
        return None  # a loss of another form
    return value if math.isfinite(value) else None


def _find_unit_axis(output: Tensor) -> int:
    """Torch's second axis for images, else the last."""
    return 1 if output.dim() > 3 else output.dim() - 1
