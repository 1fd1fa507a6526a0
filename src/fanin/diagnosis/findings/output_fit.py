"""Whether the output's activation, the loss and the target belong together: F039, F040, F041."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.final_activation import FinalActivation, find_final_activation
from fanin.diagnosis.findings.loss_behaviour import LossBehaviour, is_stationary, try_loss
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.probe.constant_predictions import fit_outputs

OUTSIDE_SHARE = 0.1
"""The share of targets out of the output's reach from which on a model cannot fit its data: fewer
may be outliers.
"""
REACH_MARGIN = 0.01
"""Relative to the width of the reach: a target of exactly 0 or 1 is within a sigmoid's reach."""
LOSS_GAP = 0.2
"""The share of the loss between the best constant and the best output that the activation makes
unreachable. A softmax before the cross-entropy of ten classes: 0.63; of two: 0.45.
"""
STUCK_SHARE = 0.5
"""Outputs at the bound of a ReLU learn nothing from their samples."""
USELESS_GAIN = 0.01
"""If knowing every target lowers the loss by less than this share, below the best constant, there
is nothing to learn from it.
"""


@dataclass(frozen=True)
class OutputFit:
    """What the judges of the output look at."""

    measurement: Measurement
    output: Tensor
    target: Tensor
    final: FinalActivation
    behaviour: LossBehaviour
    loss: object

    @property
    def is_elementwise(self) -> bool:
        """Whether every output has a target of its own."""
        return self.output.numel() == self.target.numel() and self.target.is_floating_point()


def judge_output_fit(examination: Examination) -> Iterator[Finding]:
    """F039, F040 and F041: the first that holds, since each explains the next."""
    measurement = examination.measurement
    if measurement is None or measurement.output is None:
        return
    if examination.loss_problem:
        yield _report_failure(examination.loss_problem)
        return
    final = find_final_activation(measurement)
    if final is not None and final.is_softmax and final.units == 1:
        yield _report_constant(final)
        return
    loss = examination.loss_function
    if final is None or loss is None or measurement.target is None:
        return
    behaviour = try_loss(loss, measurement.output, measurement.target)
    if behaviour is None:
        return
    fit = OutputFit(measurement, measurement.output, measurement.target, final, behaviour, loss)
    for judge in (
        _judge_ignored_output,
        _judge_broadcast,
        _judge_probabilities,
        _judge_range,
        _judge_logits,
        _judge_rectified,
        _judge_useless,
        _judge_squares,
        _judge_exclusive,
    ):
        found = judge(fit)
        if found is not None:
            yield found
            return


def _report_failure(problem: str) -> Finding:
    return Finding(
        code="F040",
        severity="error",
        where="target",
        summary=f"The loss cannot be computed. {problem}",
        remedy="Give the last layer as many units as the loss wants, or the target its shape.",
    )


def _report_constant(final: FinalActivation) -> Finding:
    return Finding(
        code="F041",
        severity="error",
        where=final.place,
        summary="A softmax over one unit is 1 for every input: no gradient reaches any parameter.",
        remedy=(
            "Use a sigmoid for one unit of two classes, no activation for a regression, or one "
            "unit for each class."
        ),
        evidence={"units": 1, "activation": final.label},
    )


def _judge_ignored_output(fit: OutputFit) -> Finding | None:
    if not fit.behaviour.ignores_output:
        return None
    return Finding(
        code="F041",
        severity="error",
        where=fit.final.place,
        summary=(
            f"No output of shape {tuple(fit.output.shape)} changes the loss: its gradient is 0 "
            "everywhere."
        ),
        remedy=(
            "A softmax over one unit is constant. Give the last layer one unit for each class, or "
            "use a binary loss for one unit."
        ),
        evidence={"units": int(fit.output.shape[-1]), "loss": fit.measurement.loss.name},
    )


def _judge_broadcast(fit: OutputFit) -> Finding | None:
    if not fit.behaviour.broadcasts:
        return None
    output, target = tuple(fit.output.shape), tuple(fit.target.shape)
    return Finding(
        code="F039",
        severity="error",
        where="target",
        summary=(
            f"The loss repeats a target of shape {target} to compare it with an output of shape "
            f"{output}: outputs are compared with targets that are not theirs."
        ),
        remedy=(
            f"Give the target the output's shape, or the last layer ({fit.final.layer}) as many "
            "units as the target has. Labels need a loss that takes class numbers, such as "
            "cross_entropy."
        ),
        evidence={"output shape": str(output), "target shape": str(target)},
    )


def _judge_probabilities(fit: OutputFit) -> Finding | None:
    """A loss of probabilities gets numbers that are none."""
    final = fit.final
    low, high = float(fit.output.min()), float(fit.output.max())
    beyond_zero = final.low < -REACH_MARGIN
    beyond_one = final.high > 1 + REACH_MARGIN
    if fit.behaviour.takes_probabilities and (beyond_zero or beyond_one):
        share = float(((fit.output <= 0) | (fit.output >= 1)).float().mean())
        reason = (
            "The loss takes probabilities: outside [0, 1] it has no gradient or fails, and "
            f"{share:.0%} of the outputs lie there"
        )
    elif fit.behaviour.fails_below_zero and beyond_zero:
        share = float((fit.output <= 0).float().mean())
        reason = (
            f"The loss is not finite for outputs below 0, and {share:.0%} of them are at most 0"
        )
    else:
        return None
    return Finding(
        code="F039",
        severity="error",
        where=final.place,
        summary=f"{reason} (they run from {low:.3g} to {high:.3g}).",
        remedy=(
            "Put a sigmoid (one unit, or classes that do not exclude one another) or a softmax "
            "behind the last layer, or better use the loss that takes logits, such as "
            "binary_cross_entropy_with_logits."
        ),
        evidence={"lowest output": low, "highest output": high, "share outside": share},
    )


def _judge_range(fit: OutputFit) -> Finding | None:
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


def _judge_logits(fit: OutputFit) -> Finding | None:
    """A loss with a softmax or sigmoid of its own gets numbers that one has squashed before."""
    final = fit.final
    squashed = final.low > -2 and final.high < 2
    if not squashed or fit.behaviour.takes_probabilities or fit.behaviour.is_quadratic:
        return None
    if fit.behaviour.ignores_scale or final.apply is None:
        return None
    gap = _measure_gap(fit)
    if gap is None or gap[0] < LOSS_GAP:
        return None
    share, reached, free, _ = gap
    return Finding(
        code="F039",
        severity="error",
        where=final.place,
        summary=(
            f"The loss takes logits, and gets numbers that {final.label} has squashed into "
            f"{final.low:.3g} to {final.high:.3g}: it cannot fall below {reached:.3g}, where "
            f"logits reach {free:.3g}."
        ),
        remedy=f"Remove {final.place}: the loss has a softmax or sigmoid of its own.",
        evidence={"best reachable loss": reached, "best loss": free, "share lost": share},
    )


def _judge_rectified(fit: OutputFit) -> Finding | None:
    """Logits, or outputs of which many are stuck at the bound of a one-sided activation."""
    final = fit.final
    if not (final.low > -torch.inf and final.high == torch.inf and final.label):
        return None
    stuck = float((fit.output == final.low).float().mean())
    if fit.behaviour.ignores_shift:
        reason = f"The loss takes logits, of which {final.label} cuts off the lower half"
    elif stuck >= STUCK_SHARE and fit.is_elementwise:
        reason = f"{final.label} is the output, and half of it or more lies at its bound"
    else:
        return None
    return _report_weak(
        fit,
        f"{reason}: {stuck:.0%} of the outputs are {final.low:.3g} and get no gradient.",
        f"Remove {final.place}; softplus or exp keep an output positive and let gradients pass.",
    )


def _measure_gap(fit: OutputFit) -> tuple[float, float, float, float] | None:
    """The share of the loss that the activation keeps a model from gaining; the best losses with
    and without it, and of a constant.
    """
    loss = fit.loss
    assert callable(loss)
    reached = fit_outputs(loss, fit.output, fit.target, through=fit.final.apply)
    free = fit_outputs(loss, fit.output, fit.target)
    constant = fit_outputs(loss, fit.output, fit.target, through=fit.final.apply, constant=True)
    if reached is None or free is None or constant is None:
        return None
    most = constant[1] - free[1]
    if not most > 1e-6 * max(1e-6, abs(constant[1])):
        return None
    return (reached[1] - free[1]) / most, reached[1], free[1], constant[1]


def _judge_useless(fit: OutputFit) -> Finding | None:
    """Knowing every target does not help: the loss does not say which output is right."""
    loss = fit.loss
    assert callable(loss)
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


def _judge_squares(fit: OutputFit) -> Finding | None:
    """The squared error of probabilities of classes."""
    final = fit.final
    binary = bool(((fit.target == 0) | (fit.target == 1)).all())
    if not (fit.behaviour.is_quadratic and fit.is_elementwise and binary):
        return None
    if not (final.is_softmax or (final.low >= -0.01 and final.high <= 1.01)):
        return None
    return _report_weak(
        fit,
        f"The squared error is taken of probabilities ({final.label}) of classes: where "
        "a prediction is confidently wrong its gradient vanishes.",
        "Use the cross-entropy on logits, without the activation.",
    )


def _judge_exclusive(fit: OutputFit) -> Finding | None:
    """Classes that exclude one another are predicted as if they did not."""
    final, output, target = fit.final, fit.output, fit.target
    if final.is_softmax or not fit.is_elementwise or output.dim() < 2 or output.shape[-1] < 3:
        return None
    if output.shape != target.shape or not (final.low >= -0.01 and final.high <= 1.01):
        return None
    exclusive = bool(((target == 0) | (target == 1)).all()) and bool((target.sum(-1) == 1).all())
    if not exclusive or fit.behaviour.is_quadratic:
        return None
    return _report_weak(
        fit,
        f"Each target has exactly one class of {output.shape[-1]}, and {final.label} predicts "
        "every class by itself.",
        "Use a softmax, or better cross_entropy on logits.",
    )


def _report_weak(fit: OutputFit, summary: str, remedy: str) -> Finding:
    severity: Severity = "warning"
    return Finding(
        code="F039",
        severity=severity,
        where=fit.final.place,
        summary=summary,
        remedy=remedy,
        evidence={"activation": fit.final.label, "loss": fit.measurement.loss.name},
    )
