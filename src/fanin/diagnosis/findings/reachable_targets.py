"""Whether a model's output can come to its targets, and gets there by a loss that says how."""

from __future__ import annotations

import math

import torch

from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.expected_outputs import REACH_MARGIN
from fanin.diagnosis.findings.final_activation import FinalActivation
from fanin.diagnosis.findings.loss_behaviour import is_stationary
from fanin.diagnosis.findings.output_record import OutputFit
from fanin.diagnosis.probe.constant_predictions import fit_outputs

OUTSIDE_SHARE = 0.1
"""The share of targets out of the output's reach from which on a model cannot fit its data: fewer
may be outliers.
"""
USELESS_GAIN = 0.01
"""If knowing every target lowers the loss by less than this share, below the best constant, there
is nothing to learn from it.
"""


def judge_range(fit: OutputFit) -> Finding | None:
    """Targets beyond what the activation reaches."""
    final = fit.final
    if not fit.is_elementwise or not final.is_bounded:
        return None
    width = final.high - final.low if math.isfinite(final.high - final.low) else 1.0
    margin = REACH_MARGIN * width
    target = fit.target.float()
    outside = (target < final.low - margin) | (target > final.high + margin)
    share = float(outside.float().mean())
    if share < OUTSIDE_SHARE:
        return None
    low, high = float(target.min()), float(target.max())
    whole = bool((target == target.round()).all()) and len(torch.unique(target)) > 2
    advice = (
        "These look like class numbers: use one unit for each class and cross_entropy."
        if whole and final.high == 1
        else "Leave the activation out, or scale the targets into its range."
    )
    return Finding(
        code="F040",
        severity="error",
        where=final.place,
        summary=(
            f"{final.label or 'The output'} reaches {_format_reach(final)}, and {share:.0%} of the "
            f"targets, which run from {low:.3g} to {high:.3g}, lie outside."
        ),
        remedy=advice,
        evidence={"lowest target": low, "highest target": high, "share outside": share},
    )


def _format_reach(final: FinalActivation) -> str:
    if final.low == -torch.inf:
        return f"numbers up to {final.high:.3g}"
    if final.high == torch.inf:
        return f"numbers from {final.low:.3g} on"
    return f"numbers from {final.low:.3g} to {final.high:.3g}"


def judge_useless(fit: OutputFit) -> Finding | None:
    """Knowing every target does not help: the loss does not say which output is right."""
    loss = fit.loss
    if len(torch.unique(fit.target)) < 2 or fit.measurement.samples < 2:
        return None
    free = fit_outputs(loss, fit.output, fit.target, through=fit.final.apply)
    constant = fit_outputs(loss, fit.output, fit.target, through=fit.final.apply, constant=True)
    if free is None or constant is None:
        return None
    if not 0 <= constant[1] - free[1] <= USELESS_GAIN * abs(constant[1]):
        return None  # a search that ends above the constant has failed, and says nothing
    if not is_stationary(loss, constant[0], fit.target):
        return None  # a loss without a minimum: the search only ended somewhere
    return Finding(
        code="F040",
        severity="error",
        where="target",
        summary=(
            f"With every target known the loss falls to {free[1]:.3g} only; the best constant "
            f"reaches {constant[1]:.3g}: the target does not tell the loss which output is right."
        ),
        remedy=(
            f"The output has shape {tuple(fit.output.shape)} and the target "
            f"{tuple(fit.target.shape)}: check what the loss takes. Class numbers need "
            "cross_entropy with indices; a one-hot loss needs one-hot targets."
        ),
        evidence={"best loss": free[1], "best constant": constant[1]},
    )


def judge_squares(fit: OutputFit) -> Finding | None:
    """The squared error of probabilities of classes."""
    final = fit.final
    binary = bool(((fit.target == 0) | (fit.target == 1)).all())
    if not (fit.behaviour.is_quadratic and fit.is_elementwise and binary):
        return None
    if not (final.is_softmax or (final.low >= -0.01 and final.high <= 1.01)):
        return None
    return fit.report_mismatch(
        "warning",
        f"The squared error is taken of probabilities ({final.label}) of classes: where "
        "a prediction is confidently wrong its gradient vanishes.",
        "Use the cross-entropy on logits, without the activation.",
    )


def judge_exclusive(fit: OutputFit) -> Finding | None:
    """Classes that exclude one another are predicted as if they did not."""
    final, output, target = fit.final, fit.output, fit.target
    if final.is_softmax or not fit.is_elementwise or output.dim() < 2 or output.shape[-1] < 3:
        return None
    if output.shape != target.shape or not (final.low >= -0.01 and final.high <= 1.01):
        return None
    exclusive = bool(((target == 0) | (target == 1)).all()) and bool((target.sum(-1) == 1).all())
    if not exclusive or fit.behaviour.is_quadratic:
        return None
    return fit.report_mismatch(
        "warning",
        f"Each target has exactly one class of {output.shape[-1]}, and {final.label} predicts "
        "every class by itself.",
        "Use a softmax, or better cross_entropy on logits.",
    )
