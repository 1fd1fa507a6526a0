"""Whether a model's output is what the loss takes: probabilities, their logarithms, logits, or one
number for each target.
"""

from __future__ import annotations

import math

from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.output_record import OutputFit

REACH_MARGIN = 0.01
"""Relative to the width of the reach: a target of exactly 0 or 1 is within a sigmoid's reach."""
LOSS_GAP = 0.2
"""The share of the loss between the best constant and the best output that the activation makes
unreachable. A softmax before the cross-entropy of ten classes: 0.63; of two: 0.45.
"""
LEAST_TOTAL_GAP = 0.05
"""How far the probabilities of all classes may add up to something else than 1."""
STUCK_SHARE = 0.5
"""Outputs at the bound of a ReLU learn nothing from their samples."""
STUCK_CLASSES = 0.1
"""The share of the outputs of several classes at 0: where the right class is among them, its
probability is 0 and gets no gradient.
"""


def judge_ignored_output(fit: OutputFit) -> Finding | None:
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


def judge_broadcast(fit: OutputFit) -> Finding | None:
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


def judge_probabilities(fit: OutputFit) -> Finding | None:
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
    elif fit.behaviour.takes_shares and beyond_zero:
        share = float((fit.output <= 0).float().mean())
        reason = (
            "The loss takes the logarithm of each class's share of all outputs. Those below 0 have "
            f"none, and {share:.0%} of them are at most 0"
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


def judge_logits(fit: OutputFit) -> Finding | None:
    """A loss with a softmax or sigmoid of its own gets numbers that one has squashed before."""
    final = fit.final
    squashed = final.low > -2 and final.high < 2
    if not squashed or fit.behaviour.takes_probabilities or fit.behaviour.is_quadratic:
        return None
    if fit.behaviour.ignores_scale or final.apply is None:
        return None
    gap = fit.measure_gap()
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


def judge_log_probabilities(fit: OutputFit) -> Finding | None:
    """A loss that takes logarithms of probabilities gets numbers that are none."""
    if not fit.behaviour.picks_target:
        return None
    total = float(fit.output.float().exp().sum(1).mean())
    if math.isfinite(total) and abs(total - 1) < LEAST_TOTAL_GAP:
        return None
    what = fit.final.label or "the last layer"
    return Finding(
        code="F039",
        severity="error",
        where=fit.final.place,
        summary=(
            "The loss takes logarithms of probabilities, and falls without end for any other "
            f"numbers: those of {what} have exponentials that add up to {total:.3g} over the "
            "classes, not to 1."
        ),
        remedy=(
            "End with log_softmax, or better give logits to cross_entropy, which has it inside."
        ),
        evidence={"sum of exponentials": total, "loss": fit.measurement.loss.name},
    )


def judge_rectified(fit: OutputFit) -> Finding | None:
    """Logits, or outputs of which many are stuck at the bound of a one-sided activation."""
    final = fit.final
    if not (final.low > -math.inf and final.high == math.inf and final.label):
        return None
    stuck = float((fit.output == final.low).float().mean())
    if fit.behaviour.ignores_shift or fit.behaviour.takes_signs:
        reason = f"The loss takes logits, of which {final.label} cuts off the lower half"
    elif stuck >= STUCK_CLASSES and fit.behaviour.takes_shares:
        reason = f"The loss takes logarithms of shares, and {final.label} makes some of them 0"
    elif stuck >= STUCK_SHARE and fit.is_elementwise:
        reason = f"{final.label} is the output, and half of it or more lies at its bound"
    else:
        return None
    # Of several classes the difference of two outputs still has either sign; one output has not.
    return fit.report_mismatch(
        "error" if fit.behaviour.takes_signs or fit.behaviour.takes_shares else "warning",
        f"{reason}: {stuck:.0%} of the outputs are {final.low:.3g} and get no gradient.",
        f"Remove {final.place}; softplus or exp keep an output positive and let gradients pass.",
    )
