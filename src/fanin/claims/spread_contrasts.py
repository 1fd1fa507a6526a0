"""Ratios of spreads: between replicates of one condition, and between initializers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.analysis import statistics
from fanin.claims.arms import Arm, Readings
from fanin.claims.claim_inputs import ClaimInputs
from fanin.claims.contrast import NOTHING, ContrastResult, Effect
from fanin.claims.decision_rule import Form, Verdict, decide


@dataclass(frozen=True)
class SpreadContrast:
    """ln of a ratio of standard deviations over replicates: how much more one condition varies from
    model to model than others do.

    The spread of several conditions is the root mean square of their standard deviations. The
    interval is a jackknife over whole replicates (`fanin.analysis.statistics.jackknife`), so it
    does not suppose normal values. A run that diverged or failed has no value to spread: then
    nothing is decided.
    """

    label: str
    wide: tuple[Arm, ...]
    narrow: tuple[Arm, ...]
    smallest: float
    form: Form = "more"
    unit: str = "ratio"

    def list_arms(self) -> tuple[Arm, ...]:
        return *self.wide, *self.narrow

    def judge(self, inputs: ClaimInputs, alpha: float) -> ContrastResult:
        split = len(self.wide)

        def compare(x: np.ndarray) -> float:
            variances = np.var(x, axis=0, ddof=1)
            return 0.5 * float(np.log(variances[:split].mean() / variances[split:].mean()))

        return _judge_ratio(self, [arm.read(inputs) for arm in self.list_arms()], compare, alpha)


@dataclass(frozen=True)
class InitializerSpreadContrast:
    """ln of the ratio of two standard deviations between initializers: how much less the choice of
    the initializer matters in one setting than in another.

    Each is the standard deviation, over initializers, of their means over replicates. The noise of
    the means is not subtracted: it makes a small spread look larger, so it works against the claim
    that a setting reduces it. The interval is a jackknife over whole replicates. A run that
    diverged or failed in one of the settings decides nothing.
    """

    label: str
    wide: tuple[Arm, ...]
    narrow: tuple[Arm, ...]
    smallest: float
    form: Form = "more"
    unit: str = "ratio"

    def list_arms(self) -> tuple[Arm, ...]:
        return *self.wide, *self.narrow

    def judge(self, inputs: ClaimInputs, alpha: float) -> ContrastResult:
        split = len(self.wide)

        def compare(x: np.ndarray) -> float:
            means = x.mean(axis=0)
            wide, narrow = (np.var(part, ddof=1) for part in (means[:split], means[split:]))
            return 0.5 * float(np.log(wide / narrow))

        return _judge_ratio(self, [arm.read(inputs) for arm in self.list_arms()], compare, alpha)


def _judge_ratio(
    contrast: SpreadContrast | InitializerSpreadContrast,
    readings: Sequence[Readings],
    compare: statistics.Statistic,
    alpha: float,
) -> ContrastResult:
    shared = sorted(set.intersection(*map(set, readings)))
    values = np.array([[found[replicate].value for found in readings] for replicate in shared])
    if len(shared) == 0:
        return ContrastResult(contrast, NOTHING, "no results yet")
    lost, failed = int(np.isinf(values).any(axis=1).sum()), int(np.isnan(values).any(axis=1).sum())
    effect = Effect("ratio", len(shared), math.nan, math.nan, math.nan, math.nan, lost, failed)
    if lost or failed or len(shared) < statistics.MIN_FOR_INTERVAL:
        return ContrastResult(contrast, effect, "inconclusive")
    found = statistics.jackknife(values, compare, 1 - alpha)
    effect = Effect("ratio", found.n, found.mean, found.low, found.high, found.sd)
    verdict: Verdict = (
        decide(contrast.form, found.mean, found.low, found.high, contrast.smallest)
        if found.n >= statistics.MIN_FOR_TEST
        else "inconclusive"
    )
    return ContrastResult(contrast, effect, verdict)
